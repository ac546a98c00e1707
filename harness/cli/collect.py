"""`fetalbench collect`: the records of what was launched, and how it ended."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.cli.options import DEFAULT_RESULTS, Results

POLL_SECONDS = 5.0


def collect(
    results: Results = DEFAULT_RESULTS,
    wait: Annotated[
        bool, typer.Option("--wait", help="Until nothing is in the queue; Ctrl-C stops waiting.")
    ] = False,
) -> None:
    """Print the records of launched cells, as `run` does, at any time.

    Exit codes: 0 all cells ok, 1 some failed or are not there yet. The same `run --launch slurm`
    submits those again.
    """
    import time

    from harness.cli import launching
    from harness.cli.cells import show_cells
    from harness.errors import EXIT_SOME_CELLS_FAILED
    from harness.run import launch

    standings = launching.look(results)
    while wait and any(one.progress in ("running", "pending", "unknown") for one in standings):
        time.sleep(POLL_SECONDS)
        standings = launching.look(results)
    runs = launching.templates(results)
    found = [launch.record_anywhere(runs[one.cell], one.cell) for one in standings]
    show_cells([record for record in found if record])
    typer.echo(f"fetalbench: {launching.counted(standings)}", err=True)
    for one in standings:
        if one.progress in ("to do", "unknown"):
            name = f"{one.cell.network} × {one.cell.backend}, seed {one.cell.seed}"
            typer.echo(f"fetalbench: {name}: {one.reason}", err=True)
    if any(one.progress != "done" for one in standings):
        sys.exit(EXIT_SOME_CELLS_FAILED)
