"""The grid of cells that a run is asked for, and what of it is already there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from backends.plans import Plan
from harness import registry
from harness.data.description import DatasetMeta
from harness.errors import NewerRecord, RecordError
from harness.jobs.job import Job
from harness.jobs.timing_code import timing_code
from harness.measuring import entries
from harness.protocol import Protocol
from harness.records.schema import CellKey, Record
from harness.records.store import find_record, gallery_fault

State = Literal["done", "to do", "to measure", "failed", "not implemented", "not installed"]
Coordinates = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True)
class GridCell:
    """One cell and its state; `reason` says why it is not done.

    `scored` says that a sound record with scores stands there, `unsound` that what stands there is
    not what it says.
    """

    key: CellKey
    state: State
    reason: str = ""
    scored: bool = False
    unsound: bool = False

    @property
    def can_run(self) -> bool:
        """Whether this machine has what the cell needs."""
        return self.state not in ("not implemented", "not installed")

    def row(self) -> dict[str, str | int]:
        """The cell as a row of `plan --json`."""
        return {
            "network": self.key.network,
            "backend": self.key.backend,
            "dataset": self.key.dataset,
            "protocol": self.key.protocol,
            "seed": self.key.seed,
            "state": self.state,
            "reason": self.reason,
        }


def coordinates(
    protocol: Protocol, networks: Sequence[str], backends: Sequence[str], seeds: Sequence[int]
) -> list[Coordinates]:
    """(network, backend, seed) of every cell; options first, then the protocol, then everything.

    Ordered by backend, so that cells of one framework can share a process if the protocol allows
    it, and PyTorch first, whose weights others may carry. A network written for NumPy alone has its
    NumPy cell only, unless a backend is asked for.
    """
    names = [registry.network(n).name for n in networks or protocol.grid.networks]
    names = names or registry.usable_networks()
    chosen = [registry.backend(b) for b in backends or protocol.grid.backends]
    cells = []
    for seed in seeds or protocol.grid.seeds:
        for backend in chosen or registry.frameworks():
            for name in names:
                entry = registry.network(name)
                own_backend = entry.implements(backend)
                plain = entry.implements("numpy")
                if own_backend or (not plain and backend != "numpy"):
                    cells.append((name, backend, seed))
    return list(dict.fromkeys(cells))


def cells_of(
    template: Job,
    dataset: DatasetMeta,
    *,
    networks: Sequence[str] = (),
    backends: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> list[GridCell]:
    """All cells that are asked for, with their states. Raises `UsageError` or `RecordError`."""
    protocol = template.protocol
    asked = coordinates(protocol, networks, backends, seeds)
    first = measured_seed([seed for _, _, seed in asked])
    keys = [
        CellKey(
            network=name,
            backend=backend,
            dataset=dataset.name,
            dataset_hash=dataset.hash,
            protocol=protocol.name,
            protocol_hash=protocol.hash,
            seed=seed,
        )
        for name, backend, seed in asked
    ]
    cells = [look(template, key, measured=key.seed == first) for key in keys]
    return _with_gallery(template, cells) if "evaluate" in template.stages else cells


def _with_gallery(template: Job, cells: list[GridCell]) -> list[GridCell]:
    """The cells; if the images that the page shows are damaged, the first that is done is to do.

    Its worker only makes them again, from the data.
    """
    scored = next((i for i, cell in enumerate(cells) if cell.scored), None)
    if scored is None:
        return cells
    cell = cells[scored]
    if fault := gallery_fault(template.results, template.machine, cell.key):
        cells[scored] = replace(cell, state="to do", reason=fault, unsound=True)
    return cells


def measured_seed(seeds: Sequence[int]) -> int | None:
    """The seed whose cells are timed: latency does not depend on the weights."""
    return min(seeds, default=None)


def is_accurate(record: Record) -> bool:
    """Whether training and evaluation are done, whatever became of the latencies."""
    return record.status == "ok" or bool(record.scores)


def look(template: Job, key: CellKey, *, measured: bool) -> GridCell:
    """The cell with the state that its record and this machine give it."""
    try:
        stored = find_record(template.results, template.machine, key)
    except NewerRecord:
        raise
    except RecordError as error:
        # A run makes a damaged record again: no reason to refuse the run.
        return GridCell(key=key, state="failed", reason=str(error), unsound=True)
    record = stored.record if stored else None
    if record and is_accurate(record):
        count = _missing_processes(template, record) if measured else 0
        if not count:
            return GridCell(key=key, state="done", scored=bool(record.scores))
        reason = f"{count} measuring process{'es' if count > 1 else ''} missing"
        scored = bool(record.scores)
        return GridCell(key=key, state="to measure", reason=reason, scored=scored)
    if not registry.network(key.network).implements(key.backend):
        reason = f"the network has no file for {key.backend}"
        return GridCell(key=key, state="not implemented", reason=reason)
    if absent := registry.missing_modules(key.backend):
        reason = f"{', '.join(absent)} is not installed"
        return GridCell(key=key, state="not installed", reason=reason)
    if record and record.status not in ("not_implemented", "unsupported"):
        return GridCell(key=key, state="failed", reason=f"{record.status}: {record.reason}")
    return GridCell(key=key, state="to do")


def _missing_processes(template: Job, record: Record) -> int:
    plans = template.execution_plans(record.key.backend)
    missing = ({*missing_parts(template, record, plan)} for plan in plans)
    due = ({0} if scoring_is_due(template, record, plan) else set[int]() for plan in plans)
    return sum(len(parts | score) for parts, score in zip(missing, due, strict=True))


def missing_parts(template: Job, record: Record, plan: Plan) -> list[int]:
    """Numbers of the processes that have yet to measure a plan."""
    settings = template.protocol.measuring
    asked = entries.conditions(plan.key, plan.precision, settings)
    # Only for what is invalid is the code read.
    invalid = any(entry.status == "invalid" for entry in record.latency)
    code = timing_code(record.key) if invalid else None
    return entries.missing_parts(record.latency, asked, settings, code)


def scoring_is_due(template: Job, record: Record, plan: Plan) -> bool:
    """Whether the plan was timed and the first process has yet to score it."""
    return entries.scoring_is_due(record, plan.key, plan.precision, template.weights_sha256)
