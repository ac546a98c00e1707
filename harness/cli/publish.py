"""`fetalbench publish`: a static folder for any web host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT_RESULTS, Results, leave_if_unsound

DEFAULT_OUT = Path("public")


def publish(
    results: Results = DEFAULT_RESULTS,
    out: Annotated[
        Path, typer.Option("--out", help="Folder to serve; made if absent.")
    ] = DEFAULT_OUT,
    url: Annotated[
        str,
        typer.Option("--url", help="Where it will be served; link previews need it."),
    ] = "",
) -> None:
    """Write the page, its exports, figures and records, a card image and .nojekyll.

    The page needs no server: any host of static files does. Exit codes: 0 written, 2 usage, 3
    data, 4 the folder cannot be written.
    """
    from harness.leaderboard import output, page, publishing
    from harness.records.store import survey

    publishing.refuse_foreign(out)
    found = survey(results)
    if not found.records:
        leave_if_unsound(found.left_out)
    output.write(publishing.published_files(results, url, found=found), out)
    typer.echo(f"Serve {out}, or look at {(out / page.PAGE).resolve().as_uri()}")
    leave_if_unsound(found.left_out)
