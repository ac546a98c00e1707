"""From planned cells to finished records: what `run` and its relatives do below the parsing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any, Literal

from harness import registry
from harness.data.catalogue import Dataset
from harness.errors import (
    EXIT_ENVIRONMENT,
    EXIT_OK,
    EXIT_SOME_CELLS_FAILED,
    EnvironmentFault,
)
from harness.jobs.environment import DeviceChoice, gpu_present, planned_device
from harness.jobs.job import RUN_STAGES, Job, Stage, StreamSettings
from harness.jobs.recording import NO_DEVICE, make_record
from harness.measuring.entries import missing_parts
from harness.measuring.profiles import profile
from harness.protocol import Protocol
from harness.records import store as records
from harness.records.schema import CellKey, Machine, Record
from harness.run.grid import PlannedCell, measured_seed, plans_of
from harness.run.order import shuffled
from harness.run.supervisor import run_jobs

Report = Callable[[dict[str, Any]], None]
# Of a latency: what a plan or a batch size cannot do is a result, the rest a failure.
FAILURES = ("timeout", "crashed", "invalid")


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that a run needs beside its cells."""

    protocol: Protocol
    protocol_source: str
    dataset: Dataset
    results: Path
    hardware: Machine
    device: Literal["cpu", "cuda"]
    stages: tuple[Stage, ...] = RUN_STAGES
    weights: Path | None = None
    force: bool = False
    stream: StreamSettings | None = None

    def job(self, cells: Sequence[PlannedCell], **changes: Any) -> Job:
        """The job of one worker."""
        values: dict[str, Any] = {
            "protocol": self.protocol,
            "protocol_source": self.protocol_source,
            "dataset": self.dataset.folder,
            "results": self.results,
            "hardware": self.hardware,
            "cells": tuple(cell.key for cell in cells),
            "stages": self.stages,
            "weights": self.weights,
            "device": self.device,
            "threads": self.protocol.measuring.threads,
            "force": self.force,
            "stream": self.stream,
        }
        return Job(**values | changes)

    def record(self, key: CellKey) -> Record | None:
        """The record of a cell as it stands, None where it is not there or damaged."""
        stored = records.find_usable(self.results, self.hardware.name, key)
        return stored.record if stored else None


@dataclass(kw_only=True)
class Summary:
    """How a run ended: cells by status, and the failures among their measurements."""

    statuses: Counter[str] = field(default_factory=Counter)
    measurements: Counter[str] = field(default_factory=Counter)
    no_device: Counter[str] = field(default_factory=Counter)  # cells by the sentence that says so

    @property
    def fault(self) -> str | None:
        """The sentence for a run that lacked a device, None for any other."""
        if not self.no_device:
            return None
        sentences = " ".join(dict.fromkeys(self.no_device))
        return f"{sum(self.no_device.values())} cells were not run: {sentences}"

    @property
    def exit_code(self) -> int:
        """0 if every cell that can run is ok, 4 if some lacked their device, else 1."""
        if self.no_device:
            return EXIT_ENVIRONMENT
        failed = self.statuses.keys() - {"ok", "not_implemented", "unsupported"}
        return EXIT_SOME_CELLS_FAILED if failed or self.measurements else EXIT_OK


def choose_device(choice: DeviceChoice, protocol: Protocol) -> Literal["cpu", "cuda"]:
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
    for cell in cells:
        if cell.state in ("not implemented", "not installed"):
            _record_absent(request, cell)
    able = [cell for cell in cells if cell.state not in ("not implemented", "not installed")]
    apart = not request.protocol.limits.share_process
    stages = tuple(s for s in request.stages if not (s == "measure" and apart))
    if stages:
        todo = [cell for cell in able if _is_due(request, cell)]
        report({"event": "plan", "cells": len(todo), "done": len(cells) - len(todo)})
        seed = measured_seed([cell.key.seed for cell in cells])
        groups = _grouped(request.protocol, todo)
        jobs = [request.job(group, stages=stages, measured_seed=seed) for group in groups]
        run_jobs(jobs, report)
    if "measure" in request.stages and apart:
        _measure_apart(request, able, report)
    return _summary(request, cells)


def _is_due(request: Request, cell: PlannedCell) -> bool:
    if request.force or "stream" in request.stages or cell.state in ("to do", "failed"):
        return True
    # With processes of their own for measuring, what is left to measure comes later.
    return (
        cell.state == "to measure"
        and "measure" in request.stages
        and request.protocol.limits.share_process
    )


def _summary(request: Request, cells: Sequence[PlannedCell]) -> Summary:
    summary = Summary()
    for cell in cells:
        record = request.record(cell.key)
        summary.statuses[record.status if record else "to do"] += 1
        if record and record.status == "unsupported" and record.reason:
            if record.reason.startswith(NO_DEVICE):
                summary.no_device[record.reason.removeprefix(NO_DEVICE)] += 1
            elif cell.state == "not installed" and request.protocol.limits.requires_gpu:
                summary.no_device[f"{cell.key.backend}: {record.reason}."] += 1
        if record and "measure" in request.stages:
            failed = [entry.status for entry in record.latency if entry.status in FAILURES]
            summary.measurements.update(failed)
    return summary


def _measure_apart(request: Request, cells: Sequence[PlannedCell], report: Report) -> None:
    """Measure after the last training, each plan of a cell in several fresh processes.

    One pass over all of them for each process, in an order that is drawn anew for each pass and
    interleaved between backends (measuring, 6): drift of the machine falls on all alike. A plan
    that misses passes, because a run was interrupted, gets the rest.
    """
    settings = request.protocol.measuring
    seed = measured_seed([cell.key.seed for cell in cells])
    units = [
        (cell, plan)
        for cell in cells
        if cell.key.seed == seed
        for plan in plans_of(request.protocol, cell.key.backend)
    ]
    parts = profile(settings.profile).processes
    every = list(range(parts)) if request.force else None
    missing = {(cell.key, plan): every or _missing(request, cell.key, plan) for cell, plan in units}
    jobs = sum(map(len, missing.values()))
    if jobs:
        report({"event": "plan", "cells": jobs, "done": 0, "what": "measuring processes"})
    for part in range(parts):
        chosen = [unit for unit in units if part in missing[unit[0].key, unit[1]]]
        order = shuffled(chosen, lambda unit: unit[0].key.backend, settings.order_seed + part)
        for cell, plan in order:
            # One that failed in the pass before has a hole that no later pass may cover up.
            if (request.force and part == 0) or _missing(request, cell.key, plan)[:1] == [part]:
                changes = {"stages": ("measure",), "plan": plan, "part": part, "parts": parts}
                run_jobs([request.job([cell], **changes)], report)


def _missing(request: Request, key: CellKey, plan: str) -> list[int]:
    """Numbers of the processes that have yet to measure a plan; none where a cell has failed."""
    record = request.record(key)
    if record is None:
        # A run that only measures begins with nothing.
        parts = profile(request.protocol.measuring.profile).processes
        return list(range(parts)) if request.stages == ("measure",) else []
    if record.status != "ok" and not record.scores:
        return []
    return missing_parts(record, plan, request.protocol.measuring)


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
    with records.lock(request.results, request.hardware.name, cell.key) as held:
        old = request.record(cell.key)
        replaces = old is None or (
            # What another machine or an earlier run has found out stays.
            old.status in ("not_implemented", "unsupported")
            and (old.status, old.reason) != (status, reason)
        )
        if held and replaces:
            job, dataset = request.job([cell]), request.dataset
            record = make_record(job, cell.key, dataset, status=status, reason=reason, versions={})
            records.commit(request.results, record)
