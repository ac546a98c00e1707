"""Threshold: no network at all, the floor that every network has to leave behind."""

from __future__ import annotations

from architectures.card import Card

CARD = Card(
    title="Threshold",
    summary="Otsu's threshold on the central part of the slice, then the largest component.",
    citation=(
        "N. Otsu, A threshold selection method from gray-level histograms, "
        "IEEE Transactions on Systems, Man, and Cybernetics 9 (1979) 62–66"
    ),
    url="https://doi.org/10.1109/TSMC.1979.4310076",
    deviations=("learns nothing: what it finds is bright and compact, not brain",),
)
