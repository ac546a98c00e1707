"""The command line: `fetalbench`.

Each command is a file that parses, calls below and prints. Heavy imports stand inside the
functions, so that `--help`, `list` and `plan` answer at once.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Annotated

import typer

from backends.errors import BackendError
from harness.cli import (
    check,
    clean,
    collect,
    cost,
    data,
    doctor,
    evaluate,
    export,
    listing,
    measure,
    merge,
    migrate,
    new,
    parity,
    plan,
    protocols,
    publish,
    report,
    run,
    segment,
    status,
    stream,
    terminal,
    train,
    tune,
    verify,
    version,
    weights,
)
from harness.cli import compare as compare_command
from harness.errors import EXIT_INTERRUPTED, FetalbenchError, UsageError
from harness.jobs.environment import forget_steering

QUICK_START = """fetalbench: which network should segment the fetal brain while the scanner runs?

  fetalbench data phantom --out data/tiny      make the embedded data set
  fetalbench run --data data/tiny              train, evaluate and measure every network
  fetalbench report                            write reports/index.html

  fetalbench segment STACK.nii.gz              brain masks of your own stacks

  fetalbench list          networks and backends        fetalbench doctor   what this machine has
  fetalbench new NET       start a network              fetalbench check NET   examine it
  fetalbench plan          what a run would do           fetalbench --help   every command
"""

app = typer.Typer(
    name="fetalbench",
    help="Benchmark and leaderboard of fetal brain segmentation networks.",
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(data.app, name="data", help="Make, import, check and show data sets.")
app.command("list")(listing.list_cells)
app.command("plan")(plan.plan)
app.command("protocols")(protocols.protocols)
app.command("run")(run.run)
app.command("status")(status.status)
app.command("collect")(collect.collect)
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("measure")(measure.measure)
app.command("compare")(compare_command.compare)
app.command("report")(report.report)
app.command("publish")(publish.publish)
app.command("merge")(merge.merge)
app.command("verify")(verify.verify)
app.command("migrate")(migrate.migrate)
app.command("clean")(clean.clean)
app.command("export")(export.export)
app.command("segment")(segment.segment)
app.command("stream")(stream.stream)
app.command("cost")(cost.cost)
app.command("parity")(parity.parity)
app.command("check")(check.check)
app.command("new")(new.new)
app.add_typer(weights.app, name="weights", help="Convert weights files.")
app.command("doctor")(doctor.doctor)
app.command("version")(version.version)


@app.callback(invoke_without_command=True)
def quick_start(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=version.print_own, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Benchmark and leaderboard of fetal brain segmentation networks."""
    if context.invoked_subcommand is None:
        typer.echo(QUICK_START, nl=False)


def _end_alike() -> None:
    """A closed terminal, a lost connection and `kill` end a command as Ctrl-C does: orderly."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) != signal.SIG_IGN:  # nohup
            signal.signal(number, signal.default_int_handler)


def _require_utf8() -> None:
    """Raise `UsageError` for a path whose bytes are not UTF-8: no record could name it."""
    for word in (*sys.argv, os.path.abspath("")):  # noqa: PTH100 - a folder that may be gone
        try:
            word.encode()
        except UnicodeEncodeError:
            shown = word.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
            raise UsageError(f"{shown}: the name is not UTF-8; rename it first.") from None


def main() -> None:
    """Entry point: a user's mistake is one sentence on stderr and its exit code."""
    terminal.never_fail()
    _end_alike()
    forget_steering()
    try:
        _require_utf8()
        app()
    except KeyboardInterrupt:
        typer.echo("fetalbench: interrupted; what was finished is kept.", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except (FetalbenchError, BackendError) as error:
        typer.echo(f"fetalbench: {error}", err=True)
        sys.exit(error.exit_code)
