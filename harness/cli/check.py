"""`fetalbench check`: does a network keep the contract in each of its frameworks?"""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.options import AsJson, Backends, print_rows
from harness.errors import EXIT_SOME_CELLS_FAILED


def check(
    network: Annotated[str, typer.Argument(help="Network, see `fetalbench list`.")],
    backends: Backends = "",
    as_json: AsJson = False,
) -> None:
    """Examine one network, of this tree or of another package, and list the findings.

    Exit code 1 if one of them is `failed`.
    """
    from harness.checks.report import examine
    from harness.cli.implementations import implementations
    from harness.registry import network as find

    entry = find(network)
    if not backends and entry.implements("numpy"):
        backends = "numpy"
    ((name, own),) = implementations(entry.name, backends)
    rows = examine(name, own)
    print_rows([row.row() for row in rows], as_json=as_json, title=f"{name}: {entry.card.title}")
    if any(row.verdict == "failed" for row in rows):
        raise typer.Exit(EXIT_SOME_CELLS_FAILED)
