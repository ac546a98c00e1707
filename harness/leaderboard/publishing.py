"""A folder that any static web host can serve: the report, its records and a card image."""

from __future__ import annotations

import io
import textwrap
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from matplotlib import rc_context
from matplotlib.figure import Figure

from harness.errors import UsageError
from harness.leaderboard.details import place_of
from harness.leaderboard.figures import palette
from harness.leaderboard.output import with_manifest
from harness.leaderboard.page import files_of, read_views
from harness.leaderboard.view import BoardView
from harness.records.store import RECORD, Survey, survey

CARD = "card.png"
CARD_PIXELS = (1200, 630)
DPI = 100


def published_files(
    results: Path, url: str = "", *, found: Survey | None = None
) -> dict[str, bytes]:
    """The report with links to records inside the folder, the records' JSON, and the card.

    Masks, samples and weights are left out: the page shows what it needs of them. `url` is where
    the folder will be served; with it, the page names its card, which link previews request by its
    full address. Raises `RecordError` and `UsageError`.
    """
    if url and not urlsplit(url).netloc:
        raise UsageError(f"--url {url!r}: expected an address like https://example.org/board.")
    found = found or survey(results)
    views = read_views(results, found)
    address = f"{url.rstrip('/')}/" if url else ""
    files = files_of(views, results, link="", url=address, left_out=found.left_out)
    for stored in found.records:
        files[f"{place_of(stored, results)}/{RECORD}"] = (stored.folder / RECORD).read_bytes()
    # Without it, GitHub Pages would pass the folder through Jekyll.
    files[".nojekyll"] = b""
    files[CARD] = card(views[0])
    return with_manifest(files)


def card(view: BoardView) -> bytes:
    """The headline of a board as a PNG of 1200×630, the size of link previews."""
    settings: dict[Any, Any] = {"font.family": "DejaVu Sans", "text.parse_math": False}
    with rc_context(settings):
        figure = Figure(figsize=(CARD_PIXELS[0] / DPI, CARD_PIXELS[1] / DPI), dpi=DPI)
        figure.set_facecolor(palette.SURFACE[0])
        ink, muted = palette.INK[0], palette.MUTED[0]
        figure.text(0.06, 0.86, "fetalbench", size=21, weight="bold", color=ink)
        figure.text(0.06, 0.8, view.board.title[:90], size=14, color=muted, va="top")
        figure.text(0.06, 0.68, _wrapped(view.headline.answer, 42), size=29, weight="bold",
                    color=ink, va="top", linespacing=1.35)  # fmt: skip
        if warnings := view.headline.warnings:
            figure.text(0.06, 0.08, _wrapped(warnings[0], 90), size=14, color=muted)
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def refuse_foreign(out: Path) -> None:
    """Raise `UsageError` if `out` holds anything but an earlier publication."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: is a file; choose a folder with --out.")
    if out.exists() and any(out.iterdir()) and not (out / ".nojekyll").exists():
        raise UsageError(
            f"{out}: holds files that `fetalbench publish` did not write; choose an empty folder "
            "with --out."
        )


def _wrapped(text: str, width: int) -> str:
    return "\n".join(textwrap.wrap(text, width))
