"""Options that several commands share, and how lists are printed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from harness.errors import EXIT_DATA, UsageError
from harness.jobs.environment import DeviceChoice

Data = Annotated[Path, typer.Option("--data", help="Prepared data set folder.")]
ProtocolName = Annotated[
    str, typer.Option("--protocol", help="Name of a protocol, or a .toml file.")
]
Results = Annotated[Path, typer.Option("--results", help="Folder of records.")]
Networks = Annotated[
    str, typer.Option("--networks", help="Comma-separated; default: the protocol's, else all.")
]
Backends = Annotated[
    str, typer.Option("--backends", help="Comma-separated; default: the protocol's, else all.")
]
Seeds = Annotated[str, typer.Option("--seeds", help="Comma-separated whole numbers.")]
Device = Annotated[DeviceChoice, typer.Option("--device", help="auto: the GPU if one is visible.")]
Size = Annotated[str, typer.Option("--size", help="HEIGHTxWIDTH; default: the protocol's.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print strict JSON instead of a table.")]

DEFAULT_DATA = Path("data/tiny")
LARGEST_NUMBER = 2**32 - 1
DEFAULT_RESULTS = Path("results")


def names(text: str) -> list[str]:
    """The items of a comma-separated option."""
    return [item.strip() for item in text.split(",") if item.strip()]


def numbers(text: str, option: str) -> list[int]:
    """The whole numbers of a comma-separated option, none negative. Raises `UsageError`."""
    if not all(item.isdecimal() for item in names(text)):
        raise UsageError(f"{option} {text!r}: expected whole numbers such as 0,1,2.")
    found = [int(item) for item in names(text)]
    if found and max(found) > LARGEST_NUMBER:
        raise UsageError(f"{option} {text!r}: the largest is {LARGEST_NUMBER}.")
    return found


def leave_if_unsound(sentences: Sequence[str]) -> None:
    """Print what was left out and leave with the exit code of data; do nothing without any."""
    for sentence in sentences:
        typer.echo(f"fetalbench: left out: {sentence}", err=True)
    if sentences:
        raise typer.Exit(EXIT_DATA)


def print_rows(rows: list[dict[str, Any]], *, as_json: bool, title: str = "") -> None:
    """Print rows as strict JSON or as a table."""
    if as_json:
        typer.echo(json.dumps(rows, allow_nan=False, indent=1))
        return
    from rich.console import Console
    from rich.table import Table

    # A column that is empty in every row takes room from the others.
    columns = [
        c for c in (rows[0] if rows else ()) if any(row[c] not in ("", None) for row in rows)
    ]
    table = Table(title=title or None, title_justify="left")
    for column in columns:
        right = all(isinstance(row[column], int | float | None) for row in rows)
        table.add_column(column.replace("_", " "), justify="right" if right else "left")
    for row in rows:
        table.add_row(*[_cell(row[column]) for column in columns])
    # Into a file or pipe a table is as wide as it needs to be.
    console = Console(highlight=False)
    if not console.is_terminal:
        narrow, console.width = console.width, 10_000
        console.width = max(narrow, console.measure(table).maximum)
    console.print(table)


def _cell(value: Any) -> str:
    from rich.markup import escape

    if value is None:
        return "—"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) else escape(str(value))
