"""`fetalbench report`: write the leaderboard page, or compare it with its records."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer

from harness.cli.options import DEFAULT_RESULTS, Results, leave_if_unsound
from harness.errors import EXIT_SOME_CELLS_FAILED

DEFAULT_OUT = Path("reports")


def report(
    results: Results = DEFAULT_RESULTS,
    out: Annotated[Path, typer.Option("--out", help="Folder of the page.")] = DEFAULT_OUT,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; compare the page with the records.")
    ] = False,
    dataset: Annotated[
        str | None, typer.Option("--dataset", help="Only this data set: name or start of hash.")
    ] = None,
    protocol: Annotated[
        str | None, typer.Option("--protocol", help="Only this protocol: name or start of hash.")
    ] = None,
    machine: Annotated[
        str | None, typer.Option("--machine", help="Only this machine, by its name.")
    ] = None,
    pdf: Annotated[bool, typer.Option("--pdf", help="Write each figure as PDF too.")] = False,
    figures: Annotated[
        bool, typer.Option("--figures/--no-figures", help="Draw figures: most of the time taken.")
    ] = True,
) -> None:
    """Write index.html, leaderboard.csv, leaderboard.json, table1.tex and the figures.

    Records of another data set, protocol or machine get a table of their own on the same page.
    A record that is not what it says is left out and named, on the page too. Exit codes: 0 written
    (or --check found no difference), 1 --check found one, 2 usage, 3 data (what is sound is
    written all the same).
    """
    from harness.leaderboard import output, page
    from harness.records.store import survey

    found = survey(results)
    if not found.records:
        leave_if_unsound(found.left_out)
    files = page.render(
        results,
        found=found,
        dataset=dataset,
        protocol=protocol,
        machine=machine,
        link=_link(results, out),
        pdf=pdf,
        figures=figures,
    )
    if not check:
        output.write(files, out)
        typer.echo(f"The leaderboard is {(out / page.PAGE).resolve().as_uri()}")
        leave_if_unsound(found.left_out)
        return
    if changed := output.differences(files, out):
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        typer.echo(
            f"fetalbench: {out / changed[0]}{more}: not what the records in {results} give; run "
            "`fetalbench report` again.",
            err=True,
        )
        raise typer.Exit(EXIT_SOME_CELLS_FAILED)
    typer.echo(f"{out / page.PAGE} is what the records in {results} give.")
    leave_if_unsound(found.left_out)


def _link(results: Path, out: Path) -> str:
    """The way from the page to the folder that holds the results folder, as a URL."""
    way = Path(os.path.relpath(results.resolve().parent, out.resolve())).as_posix()
    return "" if way == "." else f"{quote(way)}/"
