"""`fetalbench clean`: what a results folder holds beside its records."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.options import DEFAULT_RESULTS, Results


def clean(
    results: Results = DEFAULT_RESULTS,
    checkpoints: Annotated[
        bool, typer.Option("--checkpoints", help="Delete those of unfinished cells too.")
    ] = False,
) -> None:
    """Delete logs, compilers' caches, leftovers of killed runs and checkpoints of finished cells.

    Records and their files stay, and so does what a run in progress needs.
    """
    from harness.records import upkeep

    done = upkeep.clean(results, checkpoints=checkpoints)
    typer.echo(f"{results}: {done.freed_bytes / 1e6:.1f} MB freed")
