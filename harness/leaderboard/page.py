"""Boards to files: the page, the exports and the figures, each a pure function of the records."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from harness.errors import EnvironmentFault, RecordError
from harness.leaderboard import exports, manifest
from harness.leaderboard.board.boards import Board, build_boards
from harness.leaderboard.board.cells import backend_title
from harness.leaderboard.board.columns import MISSING, SET_TITLES, SETS
from harness.leaderboard.board.details import details, environments
from harness.leaderboard.board.scanner import DEADLINE_MS, LEAST_DICE, SET, candidates
from harness.leaderboard.board.speed import races, with_intervals
from harness.leaderboard.board.standings import with_standings
from harness.leaderboard.claims.catalogue import claims
from harness.leaderboard.claims.headline import verdict
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.batch_sweep import batch_sweep
from harness.leaderboard.figures.curves import memory_bars, training_curves
from harness.leaderboard.figures.heatmaps import SIGNS, heat_maps
from harness.leaderboard.figures.latency_dice import (
    QUANTITY_TITLES,
    latency_versus_dice,
    timed_quantity,
)
from harness.leaderboard.figures.overlays import overlays
from harness.leaderboard.figures.robustness import robustness
from harness.leaderboard.figures.svg import to_pdf
from harness.leaderboard.run_facts import what_was_run
from harness.records.store import load_galleries, load_records

TEMPLATES = Path(__file__).parent / "templates"
PAGE = "index.html"
# With more records than this the page says of each only where it is, and draws the figures of the
# largest board alone (of the others latency against Dice, as files): 3 MB and 30 s hold no more.
MAX_FULL = 300
EXPORTS = ("leaderboard.csv", "leaderboard.json", "table1.tex")
# From a page in `reports/` to the folder that holds `results/` beside it.
LINK_TO_RESULTS = "../"


def render(
    results: Path,
    *,
    dataset: str | None = None,
    protocol: str | None = None,
    machine: str | None = None,
    url: str = "",
    link: str = LINK_TO_RESULTS,
    pdf: bool = False,
) -> dict[str, bytes]:
    """All files of the report by their path below the output folder.

    The same records give the same bytes; the output folder's place does not matter. `link` leads
    from the page to the folder that holds `results`; `pdf` adds each figure for a paper; with
    `url`, where the page will be served, it names its card for previews. Raises `RecordError` and
    `UsageError`.
    """
    boards = build_boards(
        load_records(results),
        load_galleries(results),
        dataset=dataset,
        protocol=protocol,
        machine=machine,
    )
    brief = sum(len(board.records) for board in boards) > MAX_FULL
    views = [
        _view(board, results, brief=brief, drawn=not brief or place == 0)
        for place, board in enumerate(boards)
    ]
    boards = [view["board"] for view in views]
    rows = exports.table(boards, results)
    texts = (exports.to_csv(rows), exports.to_json(rows), exports.to_latex(boards))
    files = {PAGE: _page(views, link, url).encode()}
    files |= {name: text.encode() for name, text in zip(EXPORTS, texts, strict=True)}
    for view in views:
        for drawing in (*view["figures"], *view["beside"]):
            path = f"figures/{view['board'].id}/{drawing.name}"
            files[f"{path}.svg"] = f"{drawing.svg}\n".encode()
            if pdf:
                files[f"{path}.pdf"] = to_pdf(drawing.draw())
    return files | {manifest.MANIFEST: manifest.listing(files)}


def write(files: Mapping[str, bytes], out: Path) -> None:
    """Write the files below `out`, and delete what an earlier report wrote there and this did not.

    What no report wrote stays as it is. Raises `EnvironmentFault` where the folder cannot be
    written and `RecordError` where a file would land outside `out`.
    """
    for name in files:
        _check_inside(name, out)
    try:
        old = manifest.read(out)
        for name, content in files.items():
            path = out / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        manifest.remove(old - files.keys(), out)
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or out}: cannot be written ({error.strerror}); choose another folder "
            "with --out."
        ) from None


def _check_inside(name: str, out: Path) -> None:
    """Refuse a file that would not lie below `out`, links followed."""
    if not (out / name).resolve().is_relative_to(out.resolve()):
        raise RecordError(
            f"{name}: would be written outside {out}; nothing was written. Look for a link in the "
            "folder, or choose another with --out."
        )


def differences(files: Mapping[str, bytes], out: Path) -> list[str]:
    """Files below `out` that are absent, are not what the records give, or belong to no record.

    Files that no report wrote are nobody's business and no difference.
    """
    if not out.is_dir():
        raise RecordError(f"{out}: no such folder; `fetalbench report` makes one.")
    changed = [
        name
        for name, content in files.items()
        if not (out / name).is_file() or (out / name).read_bytes() != content
    ]
    left = {name for name in manifest.read(out) - files.keys() if (out / name).is_file()}
    return changed + sorted(left)


def _view(plain: Board, results: Path, *, brief: bool, drawn: bool) -> dict[str, Any]:
    """What the templates show of a board; `brief` leaves out remarks, not `drawn` its pictures."""
    board, standings = with_standings(with_intervals(plain))
    labels, found = environments(board)
    figures = latency_versus_dice(board)
    if drawn:
        figures += batch_sweep(board) + memory_bars(board)
        figures += training_curves(board) + robustness(board)
    names = standings.names
    return {
        "board": board,
        "verdict": verdict(board, standings),
        "standings": standings,
        "claims": claims(board, standings),
        "races": races(board, timed_quantity(board)),
        "race_quantity": QUANTITY_TITLES.get(timed_quantity(board), ""),
        "reference_title": backend_title(standings.reference),
        "candidates": candidates(board),
        "figures": figures,
        "beside": heat_maps(board, standings) if drawn else [],
        "brief": brief,
        "drawn": drawn,
        "key_of": {name: network for network, name in names.items()},
        "row_of": {(names[row.network], row.backend): row for row in reversed(board.rows)},
        "reasons": _reasons(board),
        "overlays": overlays(board) if drawn else None,
        "details": details(board, labels, results, brief=brief),
        "environments": found,
        "run": what_was_run(board),
        "best": _best(board),
    }


def _reasons(board: Board) -> dict[str, int]:
    """The reasons of missing values, numbered for the marks beside them.

    A tooltip would say them to a mouse alone: not to a keyboard, a finger or paper.
    """
    notes = [
        value.note
        for row in board.rows
        for column in board.columns
        if (value := row.values.get(column.key)) and value.number is None
        if value.note and value.note not in row.reason
    ]
    return {note: number for number, note in enumerate(dict.fromkeys(notes), 1)}


def _best(board: Board) -> dict[str, float]:
    """The best number of each column that has a direction and where one network alone is best."""
    best = {}
    for column in board.columns:
        found = [
            (row.values[column.key].number, row.network)
            for row in board.rows
            if column.better and column.key in row.values
        ]
        numbers = [number for number, _ in found if number is not None]
        if numbers:
            top = max(numbers) if column.better == "higher" else min(numbers)
            holders = {network for number, network in found if number == top}
            if len(holders) == 1 and len(set(numbers)) > 1:
                best[column.key] = top
    return best


def _page(views: Sequence[dict[str, Any]], link: str, url: str) -> str:
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
        DEADLINE_MS=f"{DEADLINE_MS:g}",
        LEAST_DICE=f"{LEAST_DICE:g}",
        SCANNER_SET=SET,
        VERDICT_SIGNS=SIGNS,
    )
    environment.filters["svg"] = _inline
    columns = {column.key: None for view in views for column in view["board"].columns}
    css = environment.get_template("page.css.j2").render(
        columns=list(columns), scheme=palette.SCHEME, palette=palette
    )
    script = (TEMPLATES / "page.js").read_text(encoding="utf-8")
    return environment.get_template("page.html.j2").render(
        views=views,
        css=Markup(css),
        css_hash=_hash(css),
        script=Markup(script),
        script_hash=_hash(script),
    )


def _hash(text: str) -> str:
    """The source expression by which the page's policy allows this text and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _inline(svg: str) -> Markup:
    """SVG that matplotlib wrote, and whose texts its XML writer escaped."""
    return Markup(svg)
