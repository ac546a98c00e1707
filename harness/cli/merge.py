"""`fetalbench merge`: results of several machines in one folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import leave_if_unsound


def merge(
    sources: Annotated[list[Path], typer.Argument(help="Results folders.")],
    out: Annotated[Path, typer.Option("--out", help="Results folder that gets their records.")],
) -> None:
    """Bring the records of several results folders into one; each is checked on the way.

    Of two records of one cell the one that is ok is taken; two that are ok are refused. Exit codes:
    0 merged, 2 usage, 3 some record was left out and named.
    """
    from harness.records import upkeep

    done = upkeep.merge(sources, out)
    typer.echo(f"{out}: {done.records} records added")
    leave_if_unsound(done.left_out)
