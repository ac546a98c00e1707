"""From planned cells to finished records: what `run` and its relatives do below the parsing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from harness import records, registry
from harness.cell_record import make_record
from harness.data.catalogue import Dataset
from harness.errors import EXIT_OK, EXIT_SOME_CELLS_FAILED, EnvironmentFault
from harness.job import ALL_STAGES, Job, Stage
from harness.launch.environment import gpu_present, planned_device
from harness.launch.local import run_jobs
from harness.measuring.order import shuffled
from harness.measuring.profiles import profile
from harness.plan import PlannedCell
from harness.protocol import Protocol
from harness.record_schema import CellKey

Report = Callable[[dict[str, Any]], None]


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that a run needs beside its cells."""

    protocol: Protocol
    protocol_source: str
    dataset: Dataset
    results: Path
    machine: str
    device: Literal["cpu", "cuda"]
    stages: tuple[Stage, ...] = ALL_STAGES
    weights: Path | None = None
    force: bool = False

    def job(self, cells: Sequence[PlannedCell]) -> Job:
        """The job of one worker."""
        return Job(
            protocol=self.protocol,
            protocol_source=self.protocol_source,
            dataset=self.dataset.folder,
            results=self.results,
            machine=self.machine,
            cells=tuple(cell.key for cell in cells),
            stages=self.stages,
            weights=self.weights,
            device=self.device,
            threads=self.protocol.measuring.threads,
            force=self.force,
        )


@dataclass(kw_only=True)
class Summary:
    """How a run ended, by status."""

    statuses: Counter[str] = field(default_factory=Counter)

    @property
    def exit_code(self) -> int:
        """0 where every cell that can run is ok, else 1."""
        failed = self.statuses.keys() - {"ok", "not_implemented", "unsupported"}
        return EXIT_SOME_CELLS_FAILED if failed else EXIT_OK


def choose_device(choice: str, protocol: Protocol) -> Literal["cpu", "cuda"]:
    """Resolve `auto`. Raises `EnvironmentFault` where the protocol needs a GPU and none is here."""
    device = planned_device(choice)
    if choice == "cuda" and not gpu_present():
        raise EnvironmentFault("no NVIDIA GPU is visible here: use --device cpu.")
    if choice == "auto" and device == "cpu" and protocol.limits.requires_gpu:
        raise EnvironmentFault(
            f"protocol {protocol.name!r} is meant for a GPU and none is visible here: run it on a "
            "GPU box, or force it with --device cpu (days on a laptop)."
        )
    return device


def execute(request: Request, cells: Sequence[PlannedCell], report: Report) -> Summary:
    """Run what is to do and record what cannot be run. Raises `Interrupted` or `Faulty`."""
    todo = [cell for cell in cells if cell.state in ("to do", "failed") or _again(request, cell)]
    apart = "measure" in request.stages and profile(request.protocol.measuring.profile).publishable
    first = replace(request, stages=tuple(s for s in request.stages if s != "measure" or not apart))
    for cell in cells:
        if cell.state in ("not implemented", "not installed"):
            _record_absent(request, cell)
    report({"event": "plan", "cells": len(todo), "done": len(cells) - len(todo)})
    run_jobs([first.job(group) for group in _grouped(request.protocol, todo)], report)
    if apart:
        _measure_apart(request, cells, report)
    summary = Summary()
    for cell in cells:
        stored = records.find_record(request.results, request.machine, cell.key)
        summary.statuses[stored.record.status if stored else "to do"] += 1
    return summary


def _again(request: Request, cell: PlannedCell) -> bool:
    return request.force and cell.state in ("done", "to measure")


def _measure_apart(request: Request, cells: Sequence[PlannedCell], report: Report) -> None:
    """Measure all cells after the last training, each in several fresh processes.

    One pass over the cells for each process, in an order that is drawn anew for each pass and
    interleaved between backends (measuring, 6): drift of the machine falls on all alike. A cell
    that misses passes, because a run was interrupted, gets the rest.
    """
    settings = request.protocol.measuring
    parts = profile(settings.profile).processes
    missing = {cell.key: _missing_parts(request, cell.key, parts) for cell in cells}
    jobs = sum(map(len, missing.values()))
    if jobs:
        report({"event": "plan", "cells": jobs, "done": 0, "what": "measurements"})
    for part in range(parts):
        chosen = [cell for cell in cells if part in missing[cell.key]]
        order = shuffled(chosen, lambda cell: cell.key.backend, settings.order_seed + part)
        for cell in order:
            # One that failed in the pass before has a hole that no later pass may cover up.
            if _missing_parts(request, cell.key, parts)[:1] == [part]:
                job = request.job([cell]).model_copy(
                    update={"stages": ("measure",), "part": part, "parts": parts}
                )
                run_jobs([job], report)


def _missing_parts(request: Request, key: CellKey, parts: int) -> list[int]:
    """Numbers of the processes that have yet to measure a cell; none where it was not evaluated."""
    stored = records.find_record(request.results, request.machine, key)
    if stored is None or not (stored.record.status == "ok" or stored.record.scores):
        return []
    return list(range(stored.record.measured_by, parts))


def _grouped(protocol: Protocol, cells: Sequence[PlannedCell]) -> list[list[PlannedCell]]:
    """One process a cell; where the protocol allows sharing, one a backend.

    The order of backends is kept: weights that others carry come first.
    """
    if not protocol.limits.share_process:
        return [[cell] for cell in cells]
    order = registry.backend_names()
    ordered = sorted(cells, key=lambda cell: order.index(cell.key.backend))
    return [list(group) for _, group in groupby(ordered, key=lambda cell: cell.key.backend)]


def _record_absent(request: Request, cell: PlannedCell) -> None:
    """A cell that cannot run here is a record with its reason, never a missing row."""
    if cell.state == "not implemented":
        status, reason = "not_implemented", cell.reason
    else:
        extra = registry.BACKEND_NEEDS[cell.key.backend][1]
        status, reason = "unsupported", f"{cell.reason}: pip install 'fetalbench[{extra}]'"
    record = make_record(
        request.job([cell]),
        cell.key,
        request.dataset,
        status=status,
        reason=reason,
        versions={},
    )
    records.commit(request.results, record)
