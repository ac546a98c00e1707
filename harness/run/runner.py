"""From the cells of a grid to finished records: what `run` and its relatives do below parsing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby, product

from backends.plans import PLANS, Plan, default
from harness import registry
from harness.data.description import read_meta
from harness.errors import (
    EXIT_ENVIRONMENT,
    EXIT_OK,
    EXIT_SOME_CELLS_FAILED,
    EnvironmentFault,
)
from harness.jobs import environment, events
from harness.jobs.environment import DeviceChoice
from harness.jobs.events import Report
from harness.jobs.job import Device, Job, Stage
from harness.jobs.recording import NO_DEVICE, make_record
from harness.measuring.profiles import profile
from harness.protocol import Protocol
from harness.records import store
from harness.records.schema import CellKey, Record, Status
from harness.run import order
from harness.run.grid import (
    GridCell,
    is_accurate,
    measured_seed,
    missing_parts,
    scoring_is_due,
)
from harness.run.supervisor import run_jobs

# Of a latency: what a plan or a batch size cannot do is a result, the rest a failure.
FAILURES = ("timeout", "crashed", "invalid")


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


def choose_device(choice: DeviceChoice, protocol: Protocol) -> Device:
    """Resolve `auto`. Raises `EnvironmentFault` if the protocol needs a GPU and none is here."""
    device = environment.planned_device(choice)
    if choice == "cuda" and not environment.gpu_present():
        raise EnvironmentFault("no NVIDIA GPU is visible here: use --device cpu.")
    if choice == "auto" and device == "cpu" and protocol.limits.requires_gpu:
        raise EnvironmentFault(
            f"protocol {protocol.name!r} is meant for a GPU and none is visible here: run it on a "
            "machine with a GPU, or force it with --device cpu (days on a laptop)."
        )
    return device


def record_of(template: Job, key: CellKey) -> Record | None:
    """The record of a cell as it stands, None if it is not there or damaged."""
    stored = store.find_usable(template.results, template.machine, key)
    return stored.record if stored else None


def execute(template: Job, cells: Sequence[GridCell], report: Report) -> Summary:
    """Run what is to do and record what cannot be run. Raises `Interrupted` or `Faulty`."""
    store.sweep(template.results)
    able = [cell for cell in cells if cell.can_run]
    for cell in cells:
        if not cell.can_run:
            _record_absent(template, cell)
    apart = not template.shares_process
    stages: tuple[Stage, ...] = template.stages
    if apart:
        stages = tuple(stage for stage in stages if stage != "measure")
    # One seed to its last figure makes a page; the other seeds come after that.
    seed = measured_seed([cell.key.seed for cell in cells])
    early = [cell for cell in cells if cell.key.seed == seed]
    if stages:
        _train(template, early, stages, report, share=not apart)
    if "measure" in template.stages and apart:
        _measure_apart(template, [cell.key for cell in able], report)
    if stages and len(early) < len(cells):
        later = [cell for cell in cells if cell.key.seed != seed]
        _train(template, later, stages, report, share=not apart, measured_seed=seed)
    return _summary(template, cells)


def _train(
    template: Job,
    cells: Sequence[GridCell],
    stages: tuple[Stage, ...],
    report: Report,
    *,
    share: bool,
    measured_seed: int | None = None,
) -> None:
    """Do those stages of the cells that are due; without a measured seed each may be timed."""
    todo = [cell.key for cell in cells if cell.can_run and _is_due(template, cell)]
    report(events.GridReady(todo=len(todo), done=len(cells) - len(todo)))
    groups = _grouped(order.by_worth(todo, template.protocol.grid.first), share=share)
    run_jobs(
        [template.with_cells(g, stages=stages, measured_seed=measured_seed) for g in groups], report
    )


def _is_due(template: Job, cell: GridCell) -> bool:
    if template.force or "stream" in template.stages or cell.state in ("to do", "failed"):
        return True
    # With processes of their own for measuring, what is left to measure comes later.
    return cell.state == "to measure" and "measure" in template.stages and template.shares_process


def _summary(template: Job, cells: Sequence[GridCell]) -> Summary:
    summary = Summary()
    for cell in cells:
        record = record_of(template, cell.key)
        summary.statuses[record.status if record else "to do"] += 1
        if record and record.status == "unsupported" and record.reason:
            if record.reason.startswith(NO_DEVICE):
                summary.no_device[record.reason.removeprefix(NO_DEVICE)] += 1
            elif cell.state == "not installed" and template.protocol.limits.requires_gpu:
                summary.no_device[f"{cell.key.backend}: {record.reason}."] += 1
        if record and "measure" in template.stages:
            failed = [entry.status for entry in record.latency if entry.status in FAILURES]
            summary.measurements.update(failed)
    return summary


def _measure_apart(template: Job, keys: Sequence[CellKey], report: Report) -> None:
    """Measure after the first seed's trainings, each plan of a cell in several fresh processes.

    In stages (`order.stages`), each with one pass over all of it for each process, in an order that
    is drawn again for each pass and interleaved between backends (measuring, 6): drift of the
    machine falls on all alike. A plan that lacks passes, because a run was interrupted, gets the
    rest.
    """
    settings, first = template.protocol.measuring, template.protocol.grid.first
    seed = measured_seed([key.seed for key in keys])
    timed = [key for key in keys if key.seed == seed]
    units = [(key, plan) for key in timed for plan in template.execution_plans(key.backend)]
    parts = profile(settings.profile).processes
    every = list(range(parts)) if template.force else None
    missing = {
        (key, plan): every
        or sorted(
            {*_missing(template, key, plan)} | ({0} if _to_score(template, key, plan) else set())
        )
        for key, plan in units
    }
    if jobs := sum(map(len, missing.values())):
        report(events.GridReady(todo=jobs, done=0, what="measuring processes"))
    staged = order.stages(
        units,
        lambda unit: unit[1] == default(PLANS[unit[0].backend], template.device),
        lambda unit: unit[0].network in first,
    )
    for stage, part in product(staged, range(parts)):
        chosen = [unit for unit in stage if part in missing[unit]]
        drawn = order.shuffled(chosen, lambda unit: unit[0].backend, settings.order_seed + part)
        for key, plan in sorted(drawn, key=lambda unit: unit[0].network not in first):
            # One that failed in the pass before has a hole that no later pass may cover up.
            if (template.force and part == 0) or _is_next(template, key, plan, part):
                run_jobs([template.timing_only(key, plan, part, parts)], report)


def _missing(template: Job, key: CellKey, plan: Plan) -> list[int]:
    """Numbers of the processes that have yet to measure a plan; none if the cell has failed."""
    record = record_of(template, key)
    if record is None:
        # A run that only measures begins with nothing.
        parts = profile(template.protocol.measuring.profile).processes
        return list(range(parts)) if template.stages == ("measure",) else []
    if not is_accurate(record):
        return []
    return missing_parts(template, record, plan)


def _is_next(template: Job, key: CellKey, plan: Plan, part: int) -> bool:
    """Whether process `part` follows on what was measured, or is the one that scores the plan.

    A process that failed in the pass before leaves a hole that no later pass may cover up.
    """
    return _missing(template, key, plan)[:1] == [part] or (
        part == 0 and _to_score(template, key, plan)
    )


def _to_score(template: Job, key: CellKey, plan: Plan) -> bool:
    record = record_of(template, key)
    return record is not None and scoring_is_due(template, record, plan)


def _grouped(keys: Sequence[CellKey], *, share: bool) -> list[list[CellKey]]:
    """One process per cell, or one per seed and backend if cells may share it; in this order."""
    if not share:
        return [[key] for key in keys]
    return [list(group) for _, group in groupby(keys, key=lambda key: (key.seed, key.backend))]


def _record_absent(template: Job, cell: GridCell) -> None:
    """A cell that cannot run here is a record with its reason, never a missing row."""
    status, reason = _why_absent(cell)
    with store.lock(template.results, template.machine, cell.key) as held:
        old = record_of(template, cell.key)
        replaces = old is None or (
            # What another machine or an earlier run has found out stays.
            old.status in ("not_implemented", "unsupported")
            and (old.status, old.reason) != (status, reason)
        )
        if held and replaces:
            meta = read_meta(template.dataset)
            record = make_record(template, cell.key, meta, status=status, reason=reason)
            store.commit(template.results, record)


def _why_absent(cell: GridCell) -> tuple[Status, str]:
    if cell.state == "not implemented":
        return "not_implemented", cell.reason
    extra = registry.BACKEND_NEEDS[cell.key.backend][1]
    return "unsupported", f"{cell.reason}: pip install 'fetalbench[{extra}]'"
