"""What `run`, `train`, `evaluate` and `measure` have in common: run cells, show how it goes."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer

from backends.weights import require_weights_file
from harness import registry
from harness.cli.options import print_rows
from harness.cli.progress import Progress
from harness.data.catalogue import open_dataset
from harness.data.description import DatasetMeta
from harness.data.visibility import require_fit
from harness.errors import EXIT_INTERRUPTED
from harness.jobs.environment import DeviceChoice
from harness.jobs.job import RUN_STAGES, Job, Stage, StreamSettings
from harness.measuring.machine import machine
from harness.protocol import Protocol, load_protocol
from harness.records.schema import Record
from harness.run import grid, runner
from harness.run.grid import GridCell
from harness.run.runner import Summary
from harness.run.supervisor import Faulty, Interrupted


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
    show: Callable[[Sequence[Record]], None] | None = None,
) -> list[Record]:
    """Lay out the grid, run it, print a table; leave with the run's exit code unless all is ok.

    `protocol` replaces what `protocol_source` names if a command has changed it; `show` prints the
    records in another way.
    """
    protocol = protocol or load_protocol(protocol_source)
    if weights is not None:
        require_weights_file(weights)
    dataset = open_dataset(data, verify=True)
    if {"train", "evaluate"} & {*stages}:
        for line in _losses(data, dataset.meta, protocol, stages):
            typer.echo(f"fetalbench: {line}", err=True)
    chosen = runner.choose_device(device, protocol)
    template = Job(
        protocol=protocol,
        protocol_source=protocol_source,
        dataset=dataset.folder,
        results=results,
        hardware=machine(chosen),
        device=chosen,
        stages=stages,
        weights=weights.absolute() if weights else None,
        force=force,
        stream=stream,
    )
    for backend in backends:
        registry.require_framework(registry.backend(backend))
    cells = grid.cells_of(template, dataset.meta, networks=networks, backends=backends, seeds=seeds)
    summary = _execute(template, cells)
    found = [record for cell in cells if (record := runner.record_of(template, cell.key))]
    (show or show_cells)(found)
    if summary.fault:
        typer.echo(f"fetalbench: {summary.fault}", err=True)
    if summary.exit_code:
        sys.exit(summary.exit_code)
    return found


def _losses(
    data: Path, meta: DatasetMeta, protocol: Protocol, stages: Sequence[Stage]
) -> list[str]:
    """What the network's window cuts off, in words. Raises `DataError` before anything is run."""
    evaluates = "evaluate" in stages
    return require_fit(data, meta, protocol.input, protocol.evaluation, evaluates=evaluates)


def _execute(template: Job, cells: Sequence[GridCell]) -> Summary:
    """Run the cells."""
    with shown_progress() as progress:
        return runner.execute(template, cells, progress)


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
