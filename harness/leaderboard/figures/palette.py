"""Colours of the page and its figures, each for light and for dark.

Figures are drawn in the light colours; the page's style sheet swaps them for the dark ones. The
hues follow Paul Tol's "muted" scheme (safe for colour-blind readers); markers and labels say the
same as colours do.
"""

from __future__ import annotations

from collections.abc import Iterable

INK = ("#1f2933", "#e4e7eb")
MUTED = ("#5f6b7a", "#a3afbd")
GRID = ("#e3e7ec", "#333d49")
SURFACE = ("#fefefe", "#171d25")
HUES = (
    ("#332288", "#9b8cf2"),
    ("#cc6677", "#e58a99"),
    ("#117733", "#4fb873"),
    ("#2f86b5", "#7cc7ee"),
    ("#882255", "#d36aa3"),
    ("#2f9485", "#5fd0bf"),
    ("#8a8420", "#cfc95c"),
    ("#aa4499", "#dd86cf"),
    ("#b7791f", "#e9b45e"),
    ("#7a5230", "#cfa27a"),
)
SCHEME = (INK, MUTED, GRID, SURFACE, *HUES)

MARKERS = {"torch": "o", "keras": "s", "flax": "^", "numpy": "D"}
OTHER_MARKERS = ("v", "P", "X", "*", "p", "h")


def hues(networks: Iterable[str]) -> dict[str, str]:
    """A colour for each network, in alphabetical order; after ten they repeat."""
    return {name: HUES[i % len(HUES)][0] for i, name in enumerate(sorted(set(networks)))}


def markers(backends: Iterable[str]) -> dict[str, str]:
    """A marker for each backend; the built-in four have the same marker everywhere."""
    wanted = set(backends)
    others = sorted(wanted - MARKERS.keys())
    extra = {name: OTHER_MARKERS[i % len(OTHER_MARKERS)] for i, name in enumerate(others)}
    return {name: mark for name, mark in (MARKERS | extra).items() if name in wanted}
