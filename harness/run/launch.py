"""A run whose cells other machines compute: what is to do where, and what became of it.

A node does a cell by the command that a user would type, `fetalbench run` restricted to that cell,
and files the record under its own machine. So a cell is done if any machine's record says so.
What was launched stands in `results/.work/launches/`, for `status` and `collect`; records remain
the truth.
"""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness import registry
from harness.data.description import DatasetMeta
from harness.errors import RecordError
from harness.jobs.job import RUN_STAGES, Job, Stage
from harness.records import atomic, store
from harness.records.schema import CellKey, Record
from harness.run import grid
from harness.run.grid import GridCell, State

BEFORE_MEASURING: tuple[Stage, ...] = ("train", "evaluate")
LAUNCHES = "launches"
# The state that counts if several machines have a record of one cell.
_BEST: tuple[State, ...] = ("done", "to measure", "failed", "to do")
Progress = Literal["done", "running", "pending", "failed", "to do", "unknown"]


class Launched(BaseModel):
    """A job that was submitted: its cell, and whether it also measures."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    job: str
    cell: CellKey
    stages: tuple[Stage, ...]


class Launch(BaseModel):
    """One submission: the run as it was asked for, all of its cells, and the jobs made of them."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: Literal[1] = 1
    created_at: str
    template: Job
    cells: tuple[CellKey, ...]
    measured_seed: int | None
    jobs: tuple[Launched, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Unit:
    """What one node does in one go: the stages of a cell."""

    cell: CellKey
    stages: tuple[Stage, ...]


@dataclass(frozen=True, kw_only=True)
class Batch:
    """Units that may run side by side. Those that measure want a node of their own.

    `after` is the number of an earlier batch. With `each`, unit i waits for unit i of that batch
    and is dropped if it fails; else all wait for the end of all, whatever became of them.
    """

    units: tuple[Unit, ...]
    measures: bool = False
    after: int | None = None
    each: bool = False


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What became of a launched cell so far."""

    cell: CellKey
    progress: Progress
    reason: str
    job: str


def cells_anywhere(
    template: Job,
    dataset: DatasetMeta,
    *,
    networks: Sequence[str],
    backends: Sequence[str],
    seeds: Sequence[int],
) -> list[GridCell]:
    """The cells that are asked for, each in the best state that any machine's record gives it."""
    chosen = {"networks": networks, "backends": backends, "seeds": seeds}
    views = [grid.cells_of(view, dataset, **chosen) for view in _views(template)]
    return [min(cells, key=_rank) for cells in zip(*views, strict=True)]


def record_anywhere(template: Job, key: CellKey) -> Record | None:
    """The record of a cell by whichever machine has come furthest with it."""
    found = [
        stored.record
        for view in _views(template)
        if (stored := store.find_usable(view.results, view.machine, key))
    ]
    return min(found, key=lambda record: record.status != "ok", default=None)


def is_due(template: Job, cell: GridCell) -> bool:
    """Whether the cell is to be launched; one that no node can run leaves its record once."""
    if cell.can_run:
        return template.force or cell.state != "done"
    return record_anywhere(template, cell.key) is None


def _views(template: Job) -> list[Job]:
    """The template as each machine with records would have it; one at least."""
    root = template.results
    folders = sorted(root.iterdir()) if root.is_dir() else []
    names = [path.name for path in folders if path.is_dir() and not path.name.startswith(".")]
    hardware = template.hardware
    return [
        template.model_copy(update={"hardware": hardware.model_copy(update={"name": name})})
        for name in names or [hardware.name]
    ]


def _rank(cell: GridCell) -> int:
    return _BEST.index(cell.state) if cell.state in _BEST else len(_BEST)


def batches(template: Job, cells: Sequence[GridCell], measured_seed: int | None) -> list[Batch]:
    """The due cells in the order of what they need of each other.

    Trainings whose weights others carry come first, then the rest; each training that is timed is
    followed by a measuring unit. Cells that lack nothing but their timing wait for nobody.
    """
    made: list[Batch] = []
    waves = ([], [])
    for cell in cells:
        waves[_carries(template, cell.key)].append(cell)
    donors: int | None = None
    for number, wave in enumerate(waves):
        timed = [c for c in wave if c.can_run and c.key.seed == measured_seed]
        fresh = [c for c in timed if c.state != "to measure" or template.force]
        others = [c for c in wave if c not in timed and c.state != "to measure"]
        if fresh or others:
            # Those that are timed first: the measuring batch counts as this one does.
            units = [Unit(cell=c.key, stages=BEFORE_MEASURING) for c in (*fresh, *others)]
            made.append(Batch(units=tuple(units), after=donors if number else None))
            donors = len(made) - 1 if not number else donors
            if fresh:
                units = [Unit(cell=c.key, stages=RUN_STAGES) for c in fresh]
                after = len(made) - 1
                made.append(Batch(units=tuple(units), measures=True, after=after, each=True))
        left = [c for c in timed if c not in fresh]
        if left:
            units = [Unit(cell=c.key, stages=RUN_STAGES) for c in left]
            made.append(Batch(units=tuple(units), measures=True))
    return made


def donor(template: Job, cell: CellKey) -> CellKey | None:
    """The cell whose weights this one carries, None if it trains its own."""
    name = template.protocol.training_of(cell.network).weights_from
    if name in ("own", cell.backend) or not registry.network(cell.network).implements(name):
        return None
    return cell.model_copy(update={"backend": name})


def _carries(template: Job, cell: CellKey) -> bool:
    return donor(template, cell) is not None


def command(template: Job, unit: Unit) -> list[str]:
    """What a node runs: this interpreter, this command line, one cell. Paths as the user typed."""
    cell = unit.cell
    words = [sys.executable, "-m", "harness.cli", "run", "--data", str(template.dataset)]
    words += ["--protocol", template.protocol_source, "--results", str(template.results)]
    words += ["--device", template.device, "--networks", cell.network]
    words += ["--backends", cell.backend, "--seeds", str(cell.seed)]
    if unit.stages != RUN_STAGES:
        words += ["--stages", ",".join(unit.stages)]
    # A unit that comes after another must not undo it.
    return [*words, "--force"] if template.force and unit.stages != RUN_STAGES else words


def command_lines(template: Job, cells: Sequence[GridCell], measured_seed: int | None) -> list[str]:
    """One line of shell per due cell, runnable from anywhere; donors of weights come first."""
    here = shlex.quote(os.getcwd())  # noqa: PTH109 - a link must stay a link
    ordered = sorted(cells, key=lambda cell: _carries(template, cell.key))
    lines = []
    for cell in ordered:
        timed = cell.key.seed == measured_seed and cell.can_run
        unit = Unit(cell=cell.key, stages=RUN_STAGES if timed else BEFORE_MEASURING)
        words = command(template, unit)
        if template.force and timed:
            words.append("--force")
        lines.append(f"cd {here} && {shlex.join(words)}")
    return lines


def folder_of(results: Path) -> Path:
    """Where launches are written down."""
    return results / store.WORK / LAUNCHES


def save(launch: Launch) -> None:
    """Write a launch down, or again with more of its jobs."""
    name = f"{launch.created_at.replace(':', '')}-{os.getpid()}.json"
    path = folder_of(launch.template.results) / name
    atomic.write_json(path, launch.model_dump(mode="json"))


def now() -> str:
    """The time of a launch, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def load(results: Path) -> list[Launch]:
    """All launches into this results folder, oldest first. Raises `RecordError`."""
    found = []
    for path in sorted(folder_of(results).glob("*.json")):
        try:
            found.append(Launch.model_validate_json(path.read_bytes()))
        except (OSError, ValidationError) as error:
            raise RecordError(
                f"{path}: is not a launch of this fetalbench ({type(error).__name__}); remove it, "
                "its records stay."
            ) from None
    return found


def standings(launches: Sequence[Launch], states: Mapping[str, str] | None) -> list[Standing]:
    """Every launched cell once: what its record says, else what the scheduler says of its jobs.

    `states` has the scheduler's word by job, without those that have long ended; None if it does
    not answer. A job that is still to come counts as `pending`, one that runs as `running`.
    """
    latest: dict[CellKey, Launch] = {cell: one for one in launches for cell in one.cells}
    jobs: dict[CellKey, list[Launched]] = {cell: [] for cell in latest}
    for one in launches:
        for job in one.jobs:
            jobs[job.cell].append(job)
    return [_standing(latest[cell], cell, jobs[cell], states) for cell in latest]


def _standing(
    launch: Launch, cell: CellKey, jobs: Sequence[Launched], states: Mapping[str, str] | None
) -> Standing:
    measured = cell.seed == launch.measured_seed
    looks = [grid.look(view, cell, measured=measured) for view in _views(launch.template)]
    best = min(looks, key=_rank)
    last = jobs[-1].job if jobs else ""

    def stands(progress: Progress, reason: str = "", job: str = last) -> Standing:
        return Standing(cell=cell, progress=progress, reason=reason, job=job)

    if best.state == "done" or (not best.can_run and record_anywhere(launch.template, cell)):
        return stands("done", best.reason)
    known = states or {}
    for progress in ("running", "pending"):
        for job in jobs:
            if known.get(job.job) == progress:
                return stands(progress, best.reason, job.job)
    if best.state == "failed":
        return stands("failed", best.reason)
    if states is None:
        return stands("unknown", "the scheduler does not answer")
    ended = known.get(last, "it ended, the scheduler has forgotten how")
    if not jobs:
        return stands("to do", "was not submitted")
    return stands("to do", best.reason or f"job {last} left no record: {ended}")
