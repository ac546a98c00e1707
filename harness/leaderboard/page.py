"""From records to the files of a report: the page, the exports and the figures."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.errors import RecordError
from harness.leaderboard import exports
from harness.leaderboard.board.boards import build_boards
from harness.leaderboard.board.columns import MISSING
from harness.leaderboard.board.titles import SET_TITLES, SETS
from harness.leaderboard.claims.scanner import SET
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.heatmaps import SIGNS
from harness.leaderboard.output import with_manifest
from harness.leaderboard.view import BoardView, Extent, view_of
from harness.records.provenance import without_paths
from harness.records.store import Survey, load_galleries, survey

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "index.html"
# With more records than this, the page only links them, and draws the figures of its largest board
# alone (of the others latency against Dice, as files): more would not fit into 3 MB and 30 s.
MAX_FULL = 300
EXPORTS = ("leaderboard.csv", "leaderboard.json", "table1.tex")
# From a page in `reports/` to the folder that holds `results/` beside it.
LINK_TO_RESULTS = "../"


def render(
    results: Path,
    *,
    found: Survey | None = None,
    dataset: str | None = None,
    protocol: str | None = None,
    machine: str | None = None,
    link: str = LINK_TO_RESULTS,
    pdf: bool = False,
    figures: bool = True,
) -> dict[str, bytes]:
    """All files of the report by their path below the output folder.

    The same records give the same bytes, wherever the output folder is. `link` leads from the page
    to the folder that holds `results`; `pdf` adds each figure as PDF; without `figures` there are
    none, which takes a fraction of the time. `found` is what a survey of `results` has found; the
    page names what that left out. Raises `RecordError` and `UsageError`.
    """
    found = found or survey(results)
    views = read_views(
        results, found, dataset=dataset, protocol=protocol, machine=machine, figures=figures
    )
    return with_manifest(files_of(views, results, link=link, pdf=pdf, left_out=found.left_out))


def read_views(
    results: Path,
    found: Survey,
    *,
    dataset: str | None = None,
    protocol: str | None = None,
    machine: str | None = None,
    figures: bool = True,
) -> list[BoardView]:
    """What the page shows, largest board first. Raises `RecordError` and `UsageError`."""
    if found.left_out and not found.records:
        raise RecordError(found.left_out[0])
    boards = build_boards(
        found.records,
        load_galleries(results),
        dataset=dataset,
        protocol=protocol,
        machine=machine,
    )
    brief = sum(len(board.records) for board in boards) > MAX_FULL
    return [
        view_of(board, results, Extent(brief=brief, whole=not brief or i == 0, figures=figures))
        for i, board in enumerate(boards)
    ]


def files_of(
    views: Sequence[BoardView],
    results: Path,
    *,
    link: str,
    url: str = "",
    pdf: bool = False,
    left_out: Sequence[str] = (),
) -> dict[str, bytes]:
    """The page, the exports and the figures; `url` is where the page will be served, if known."""
    left_out = [without_paths(sentence, {"results": results}) for sentence in left_out]
    boards = [view.board for view in views]
    rows = exports.table(boards, results)
    texts = (exports.to_csv(rows), exports.to_json(rows), exports.to_latex(boards))
    files = {PAGE: _page(views, link, url, left_out).encode()}
    files |= {name: text.encode() for name, text in zip(EXPORTS, texts, strict=True)}
    for view in views:
        for drawing in (*view.pictures.drawings, *view.pictures.beside):
            files[f"{drawing.path}.svg"] = f"{drawing.svg}\n".encode()
            if pdf:
                files[f"{drawing.path}.pdf"] = drawing.pdf()
    return files


def _page(views: Sequence[BoardView], link: str, url: str, left_out: Sequence[str]) -> str:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.globals.update(MISSING=MISSING, SETS=SETS, SET_TITLES=SET_TITLES)
    environment.globals.update(link=link, url=url, exported=EXPORTS)
    environment.globals.update(
        SCANNER_SET=SET,
        VERDICT_SIGNS=SIGNS,
    )
    environment.filters["svg"] = _inline
    environment.filters["quoted"] = quote
    columns = {column.key: None for view in views for column in view.board.columns}
    css = environment.get_template("page.css.j2").render(
        columns=list(columns), scheme=palette.SCHEME, palette=palette
    )
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        views=views,
        left_out=left_out,
        css=Markup(css),
        css_hash=_hash(css),
        script=Markup(script),
        script_hash=_hash(script),
    )


def _hash(text: str) -> str:
    """The source expression by which the page's policy allows this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inline(svg: str) -> Markup:
    """SVG from matplotlib, whose XML writer has escaped its texts."""
    return Markup(svg)
