"""Matplotlib figures as SVG for a strict page: without style attributes and dates, with unique ids.

Style attributes would need `unsafe-inline` in the page's Content-Security-Policy, so each becomes a
presentation attribute, which the page's style sheet can override (dark mode does).
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from xml.etree import ElementTree as ET

import seaborn as sns
from matplotlib import rc_context
from matplotlib.figure import Figure

from harness.leaderboard.figures.palette import GRID, INK, MUTED, SURFACE

SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"
# An artist with this prefix in its gid belongs to the network that the rest names.
NETWORK = "network:"
ET.register_namespace("", SVG)

_RC: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "fetalbench",
    "text.parse_math": False,
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "axes.titlesize": 11.5,
    "axes.titleweight": "semibold",
    "axes.titlelocation": "left",
    "axes.labelsize": 10.5,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": MUTED[0],
    "axes.labelcolor": MUTED[0],
    "axes.titlecolor": INK[0],
    "text.color": INK[0],
    "xtick.color": MUTED[0],
    "ytick.color": MUTED[0],
    "grid.color": GRID[0],
    "grid.linewidth": 0.8,
    "axes.facecolor": "none",
    "figure.facecolor": "none",
    "legend.frameon": False,
}
EDGE = SURFACE[0]


@contextmanager
def style() -> Iterator[None]:
    """Seaborn's white-grid style with the page's colours."""
    with sns.axes_style("whitegrid"), rc_context(_RC):
        yield


def to_svg(figure: Figure, name: str, label: str, titles: Mapping[str, str] | None = None) -> str:
    """The figure as one `<svg>` element, the same bytes for the same figure.

    `name` makes its ids unique on a page, `label` is what a screen reader says, and `titles` maps
    the gids of artists to the text shown when they are pointed at.
    """
    buffer = io.BytesIO()
    with rc_context(_RC):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    root = ET.fromstring(buffer.getvalue())
    for parent in list(root.iter()):
        for child in list(parent):
            if child.tag in (f"{{{SVG}}}metadata", f"{{{SVG}}}style"):
                parent.remove(child)
    for element in root.iter():
        _tidy(element, name, titles or {})
    for definition in root.iter(f"{{{SVG}}}defs"):
        # A used element inherits its paint from `<use>`, which the page's style sheet can reach.
        for element in definition.iter(f"{{{SVG}}}path"):
            element.attrib.pop("stroke", None)
    for attribute in ("width", "height", "version"):
        root.attrib.pop(attribute, None)
    root.attrib.update(
        {
            "class": "plot",
            "role": "img",
            "aria-label": label,
            "stroke-linejoin": "round",
            "font-family": "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif",
        }
    )
    _drop_unused_ids(root)
    return ET.tostring(root, encoding="unicode").replace(f' xmlns:xlink="{XLINK}"', "")


def _tidy(element: ET.Element, name: str, titles: Mapping[str, str]) -> None:
    gid = element.get("id", "")
    if gid in titles or gid.startswith(NETWORK):
        if gid.startswith(NETWORK):
            element.set("data-network", gid.removeprefix(NETWORK).partition("/")[0])
        if gid in titles:
            title = ET.Element(f"{{{SVG}}}title")
            title.text = titles[gid]
            element.insert(0, title)
        del element.attrib["id"]
    elif gid:
        element.set("id", f"{name}-{gid}")
    if (link := element.attrib.pop(f"{{{XLINK}}}href", None)) is not None:
        element.set("href", f"#{name}-{link.removeprefix('#')}")
    if (clip := element.get("clip-path")) is not None:
        element.set("clip-path", clip.replace("url(#", f"url(#{name}-"))
    for rule in element.attrib.pop("style", "").split(";"):
        key, _, value = rule.partition(":")
        if key.strip() == "font":
            _set_font(element, value)
        elif key.strip():
            element.set(key.strip(), value.strip())


def _set_font(element: ET.Element, shorthand: str) -> None:
    """Keep the weight and size of CSS `font`; the family is that of the page."""
    if size := re.search(r"([\d.]+)px", shorthand):
        element.set("font-size", size.group(1))
    if weight := re.search(r"\b(600|700|bold)\b", shorthand):
        element.set("font-weight", weight.group(1))


def _drop_unused_ids(root: ET.Element) -> None:
    text = ET.tostring(root, encoding="unicode")
    used = set(re.findall(r'href="#([^"]+)"', text)) | set(re.findall(r"url\(#([^)]+)\)", text))
    for element in root.iter():
        if element.get("id") and element.get("id") not in used:
            del element.attrib["id"]


def to_pdf(figure: Figure) -> bytes:
    """The figure as PDF for a paper, without a date."""
    buffer = io.BytesIO()
    with rc_context({**_RC, "pdf.fonttype": 42}):
        figure.savefig(buffer, format="pdf", metadata={"CreationDate": None, "Producer": None})
    return buffer.getvalue()
