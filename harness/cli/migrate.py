"""`fetalbench migrate`: records of older schemas in today's."""

from __future__ import annotations

import typer

from harness.cli.options import DEFAULT_RESULTS, Results, leave_if_unsound


def migrate(results: Results = DEFAULT_RESULTS) -> None:
    """Rewrite records of older schemas in today's, with a digest; what they say stays.

    Every command reads older records all the same. Exit codes: 0 done, 3 some record was left out
    and named.
    """
    from harness.records import upkeep

    done = upkeep.migrate(results)
    typer.echo(f"{results}: {done.records} records rewritten")
    leave_if_unsound(done.left_out)
