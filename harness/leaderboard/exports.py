"""The leaderboard as CSV, JSON and the paper's Table 1 in LaTeX."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.columns import COLUMNS, MISSING, Column
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.timings import QUANTITIES
from harness.leaderboard.board.titles import SETS
from harness.leaderboard.details import place_of
from harness.records.sentences import plain
from harness.records.store import RECORD

JSON_SCHEMA_VERSION = 3
IDENTITY_KEYS = ("dataset", "dataset_hash", "protocol", "protocol_hash", "machine")
# One row of the exports: texts, numbers, and None for what is unknown.
Flat = dict[str, str | float | None]
TIMING_KEYS = tuple(f"{quantity}_{key}" for quantity in QUANTITIES for key in ("status", "reason"))
ROW_KEYS = ("network", "title", "backend", "plan", "precision", "status", "reason", "stamp")


def table(boards: Sequence[Board], results: Path) -> list[Flat]:
    """One flat mapping per row, with unrounded numbers in the unit that the key names."""
    return [
        _identity(board)
        | {name: getattr(row, name) for name in ROW_KEYS}
        | _timings(row)
        | {f"{set_name}_tiers": row.tiers.get(set_name, "") for set_name in SETS}
        | {"flags": "; ".join(row.flags)}
        | {key: number for column in COLUMNS for key, number in _numbers(row, column).items()}
        | {"command": row.seeds.records[0].command if row.seeds else ""}
        | {"record": _path(row, results)}
        for board in boards
        for row in board.rows
    ]


def to_csv(rows: list[Flat]) -> str:
    """Rows as CSV with a header; unknown values are empty."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _inert(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def to_json(rows: list[Flat]) -> str:
    """Rows as strict JSON; unknown values are null."""
    columns = {
        column.key: {"group": column.group, "title": column.title, "better": column.better}
        for column in COLUMNS
    }
    content = {"schema_version": JSON_SCHEMA_VERSION, "columns": columns, "rows": rows}
    return json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def to_latex(boards: Sequence[Board]) -> str:
    """The paper's Table 1 from our records, with its Dice, IoU and mean latency."""
    return "\n".join(_latex_table(board) for board in boards)


def _identity(board: Board) -> dict[str, str]:
    machine = {"machine": board.machine.name}
    return {name: getattr(board, name) for name in IDENTITY_KEYS[:-1]} | machine


def _numbers(row: Row, column: Column) -> dict[str, float | None]:
    """The number in a column, and the ends of its interval if it has one."""
    value = row.values.get(column.key)
    numbers = {column.key: value.number if value else None}
    if column.interval:
        low, high = value.interval if value and value.interval else (None, None)
        numbers |= {f"{column.key}_low": low, f"{column.key}_high": high}
    return numbers


def _timings(row: Row) -> dict[str, str]:
    """What became of the plan's timing at batch size 1, which fails apart from its record."""
    found = {}
    for quantity in QUANTITIES:
        entry = row.latencies(quantity).get(1)
        found[f"{quantity}_status"] = entry.status if entry else ""
        found[f"{quantity}_reason"] = (entry.reason or "") if entry else ""
    return found


def _path(row: Row, results: Path) -> str:
    return f"{place_of(row.seeds.stored[0], results)}/{RECORD}" if row.seeds else ""


def _inert(value: str | float | None) -> str | float | None:
    """Text that a spreadsheet would run as a formula gets a leading apostrophe."""
    if not isinstance(value, str):
        return value
    # A line break would begin a row of the reader's, whatever the quotes around it.
    line = plain(value)
    return f"'{line}" if line.startswith(("=", "+", "-", "@")) else line


_LATEX_KEYS = (
    "normal_paper_dice",
    "normal_paper_iou",
    "challenging_paper_dice",
    "challenging_paper_iou",
    "paper_convention_gflops",
    "parameters",
    "forward_mean_ms",
)


def _latex_table(board: Board) -> str:
    lines = [
        f"% {_latex(board.title)}",
        f"% data set {board.dataset_hash}, protocol {board.protocol_hash}",
        r"\begin{tabular}{llrrrrrrr}",
        r"\hline",
        r" & & \multicolumn{2}{c}{Normal} & \multicolumn{2}{c}{Challenging} & & & \\",
        r"Network & Backend & aDice & aIoU & aDice & aIoU & GFLOPs & Parameters & Latency (ms) \\",
        r"\hline",
    ]
    for row in board.rows:
        values = [_latex_value(row, key) for key in _LATEX_KEYS]
        # Where nothing was to be scored, nothing failed.
        if row.number(_LATEX_KEYS[0]) is None and row.status != "ok":
            values[0] = _latex(row.status_title)
        name = [_latex(row.title), _latex(f"{row.backend_title} {row.plan}".strip())]
        lines.append(" & ".join([*name, *values]) + r" \\")
    return "\n".join([*lines, r"\hline", r"\end{tabular}", ""])


def _latex_value(row: Row, key: str) -> str:
    value = row.values.get(key)
    if value is None or value.number is None:
        return "--"
    spread = value.note.partition(" ms")[0] if value.note.startswith("±") else ""
    return _latex(f"{value.text} {spread}".strip()).replace("±", r"$\pm$").replace(MISSING, "--")


def _latex(text: str) -> str:
    """Text on one line: a line break in a title would end the comment around it."""
    special = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    special |= {char: f"\\{char}" for char in "&%$#_{}"}
    return "".join(special.get(char, char) for char in " ".join(text.split()))
