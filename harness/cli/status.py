"""`fetalbench status`: what became of the cells that were launched."""

from __future__ import annotations

from harness.cli.options import DEFAULT_RESULTS, AsJson, Results, print_rows


def status(results: Results = DEFAULT_RESULTS, as_json: AsJson = False) -> None:
    """List launched cells: done, running, pending, failed, to do. Changes nothing.

    Records decide; Slurm is asked only about cells that have none.
    """
    from harness.cli import launching

    rows = [
        {
            "network": one.cell.network,
            "backend": one.cell.backend,
            "protocol": one.cell.protocol,
            "seed": one.cell.seed,
            "state": one.progress,
            "job": one.job,
            "reason": one.reason,
        }
        for one in launching.look(results)
    ]
    print_rows(rows, as_json=as_json)
