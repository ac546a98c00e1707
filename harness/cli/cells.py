"""What `run`, `train`, `evaluate` and `measure` have in common: run cells, show how it goes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import typer

from backends.weights import digest, read_arrays, require_weights_file
from harness import registry
from harness.cli.options import names, print_rows
from harness.cli.progress import Progress
from harness.data.catalogue import open_dataset
from harness.data.description import DatasetMeta
from harness.data.visibility import require_fit
from harness.errors import EXIT_INTERRUPTED, UsageError
from harness.jobs.environment import DeviceChoice
from harness.jobs.events import Report
from harness.jobs.job import RUN_STAGES, Job, Stage, StreamSettings
from harness.jobs.job import Device as JobDevice
from harness.measuring.machine import machine
from harness.measuring.precision import require_precision
from harness.protocol import Protocol, load_protocol
from harness.records.schema import Record
from harness.run import grid, runner, slots, tracking
from harness.run.grid import GridCell
from harness.run.runner import Summary
from harness.run.supervisor import Faulty, Interrupted

# More processes than any machine has cores are a slip of the finger.
MOST_AT_ONCE = 1024


def run_cells(
    *,
    data: Path,
    protocol_source: str,
    networks: Sequence[str],
    backends: Sequence[str],
    seeds: Sequence[int],
    results: Path,
    device: DeviceChoice,
    force: bool,
    stages: tuple[Stage, ...] = RUN_STAGES,
    weights: Path | None = None,
    protocol: Protocol | None = None,
    stream: StreamSettings | None = None,
    at_once: str = "1",
    track: Sequence[str] = (),
    show: Callable[[Sequence[Record]], None] | None = None,
) -> list[Record]:
    """Lay out the grid, run it, print a table; leave with the run's exit code unless all is ok.

    `protocol` replaces what `protocol_source` names if a command has changed it; `show` prints the
    records in another way.
    """
    template, meta = prepare(
        data=data,
        protocol_source=protocol_source,
        results=results,
        device=runner.choose_device(device, protocol or load_protocol(protocol_source)),
        force=force,
        stages=stages,
        weights=weights,
        protocol=protocol,
        stream=stream,
        at_once=at_once,
    )
    for backend in backends:
        registry.require_framework(registry.backend(backend))
    cells = grid.cells_of(template, meta, networks=networks, backends=backends, seeds=seeds)
    summary = execute(template, cells, track)
    found = [record for cell in cells if (record := runner.record_of(template, cell.key))]
    (show or show_cells)(found)
    if summary.fault:
        typer.echo(f"fetalbench: {summary.fault}", err=True)
    if summary.exit_code:
        sys.exit(summary.exit_code)
    return found


def prepare(
    *,
    data: Path,
    protocol_source: str,
    results: Path,
    device: JobDevice,
    force: bool,
    stages: tuple[Stage, ...] = RUN_STAGES,
    weights: Path | None = None,
    protocol: Protocol | None = None,
    stream: StreamSettings | None = None,
    at_once: str = "1",
) -> tuple[Job, DatasetMeta]:
    """The template of a run, once its protocol, weights and data have been looked at."""
    protocol = protocol or load_protocol(protocol_source)
    if weights is not None:
        require_weights_file(weights)
    if "train" in stages and weights is None:
        require_precision(protocol, device)
    dataset = open_dataset(data, verify=True)
    if {"train", "evaluate"} & {*stages}:
        for line in _losses(data, dataset.meta, protocol, stages):
            typer.echo(f"fetalbench: {line}", err=True)
    template = Job(
        protocol=protocol,
        protocol_source=protocol_source,
        dataset=dataset.folder,
        results=results,
        hardware=machine(device),
        device=device,
        stages=stages,
        weights=weights.absolute() if weights else None,
        weights_sha256=digest(read_arrays(weights)) if weights else None,
        force=force,
        stream=stream,
        at_once=_number_at_once(at_once, protocol, device),
    )
    return template, dataset.meta


def _number_at_once(text: str, protocol: Protocol, device: JobDevice) -> int:
    """How many trainings `--jobs` asks for. Raises `UsageError`."""
    if text == "auto":
        return slots.most(protocol, device)
    if not text.isdecimal() or not 1 <= int(text) <= MOST_AT_ONCE:
        raise UsageError(f"--jobs {text!r}: expected auto, or a number up to {MOST_AT_ONCE}.")
    return int(text)


def stages_of(text: str) -> tuple[Stage, ...]:
    """The stages of a comma-separated option, in their order; all if none. Raises `UsageError`."""
    asked = names(text) or list(RUN_STAGES)
    if other := [name for name in asked if name not in RUN_STAGES]:
        raise UsageError(f"--stages {other[0]!r}: expected some of {','.join(RUN_STAGES)}.")
    if "train" in asked and "evaluate" not in asked:
        raise UsageError("--stages train: `fetalbench train` does that; name evaluate too.")
    return tuple(stage for stage in RUN_STAGES if stage in asked)


def _losses(
    data: Path, meta: DatasetMeta, protocol: Protocol, stages: Sequence[Stage]
) -> list[str]:
    """What the network's window cuts off, in words. Raises `DataError` before anything is run."""
    evaluates = "evaluate" in stages
    return require_fit(data, meta, protocol.input, protocol.evaluation, evaluates=evaluates)


def execute(template: Job, cells: Sequence[GridCell], track: Sequence[str] = ()) -> Summary:
    """Run the cells, and hand what they report to the tracking that was asked for."""
    with shown_progress() as progress, ExitStack() as stack:
        report: Report = progress
        for kind in tracking.kinds(track):
            report = stack.enter_context(tracking.Tracking(kind, template, report, progress.warn))
        return runner.execute(template, cells, report)


@contextmanager
def shown_progress() -> Iterator[Progress]:
    """Progress on the terminal; an interruption or a refusal is a sentence and its exit code."""
    # A shell that starts us in the background ignores SIGINT for us; `kill` sends SIGTERM.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        with Progress() as progress:
            yield progress
    except Interrupted:
        typer.echo("fetalbench: interrupted; start the same command again to resume.", err=True)
        raise typer.Exit(EXIT_INTERRUPTED) from None
    except Faulty as fault:
        typer.echo(f"fetalbench: {fault}", err=True)
        raise typer.Exit(fault.exit_code) from None


def show_cells(found: Sequence[Record]) -> None:
    """Print one row per cell."""
    print_rows([_row(record) for record in found], as_json=False)


def _row(record: Record) -> dict[str, Any]:
    end_to_end = [
        entry.median_ms
        for entry in record.latency
        if entry.status == "ok" and entry.quantity == "end_to_end" and entry.batch == 1
    ]
    row: dict[str, Any] = {"network": record.key.network, "backend": record.key.backend}
    row |= {"seed": record.key.seed, "status": record.status}
    for name in ("normal", "challenging"):
        scores = record.scores.get(name)
        row[f"{name}_dice"] = f"{100 * scores.dice:.2f} %" if scores else None
    row["latency_ms"] = min((v for v in end_to_end if v is not None), default=None)
    row["reason"] = record.reason or ""
    return row
