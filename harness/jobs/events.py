"""What a worker tells its parent, and the parent its user: one class per event.

Each has a Literal as its name, by which a line of JSON becomes an event again. `Report` takes them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from harness.jobs.job import Stage
from harness.records.schema import CellKey, Condition, PlanAccuracy, Status


class Base(BaseModel):
    """Unknown and missing fields are errors."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False, frozen=True)


class GridReady(Base):
    """The parent knows how many cells, or processes that measure, are to do."""

    event: Literal["grid"] = "grid"
    todo: int
    done: int
    what: Literal["cells", "measuring processes", "trials"] = "cells"


class WorkerStarted(Base):
    """The parent has started a worker, which imports its framework now."""

    event: Literal["worker"] = "worker"
    backend: str
    cells: int


class CellStarted(Base):
    """The worker holds the cell's lock and begins."""

    event: Literal["start"] = "start"
    cell: CellKey


class CellBusy(Base):
    """Another process holds the cell's lock; the cell is left to it."""

    event: Literal["busy"] = "busy"
    cell: CellKey


class DeviceBusy(Base):
    """The cell waits: another one measures on its device, or would disturb its measuring."""

    event: Literal["waits"] = "waits"
    cell: CellKey


class StageStarted(Base):
    """The worker trains or evaluates its cell."""

    event: Literal["stage"] = "stage"
    stage: Stage


class TrainingRestarted(Base):
    """The cell has a checkpoint that cannot be resumed; the reason is a sentence."""

    event: Literal["restart"] = "restart"
    reason: str


class EpochDone(Base):
    """An epoch, counted from 1; `seconds` are those of its training."""

    event: Literal["epoch"] = "epoch"
    epoch: int
    epochs: int
    learning_rate: float
    train_loss: float
    validation_dice: float
    seconds: float


class MeasuringStarted(Base):
    """The worker measures under a condition; `default` says that evaluation uses its plan."""

    event: Literal["measuring"] = "measuring"
    condition: Condition
    default: bool


class StillAtWork(Base):
    """The worker has done a batch or a query since its last event."""

    event: Literal["at_work"] = "at_work"


class ScoringStarted(Base):
    """The worker scores a plan on the test sets; the entry is its result if the worker dies."""

    event: Literal["scoring"] = "scoring"
    entry: PlanAccuracy


class CellDone(Base):
    """The cell's record is committed."""

    event: Literal["done"] = "done"
    cell: CellKey
    status: Status


class JobStopped(Base):
    """The worker was asked to stop, and has saved what is worth keeping."""

    event: Literal["stopped"] = "stopped"


class JobRefused(Base):
    """The worker does none of its cells: a mistake of the user or of the environment."""

    event: Literal["refused"] = "refused"
    reason: str
    exit_code: int


Event = (
    GridReady
    | WorkerStarted
    | CellStarted
    | CellBusy
    | DeviceBusy
    | StageStarted
    | TrainingRestarted
    | EpochDone
    | MeasuringStarted
    | StillAtWork
    | ScoringStarted
    | CellDone
    | JobStopped
    | JobRefused
)
Report = Callable[[Event], None]

_EVENT: TypeAdapter[Event] = TypeAdapter(Annotated[Event, Field(discriminator="event")])


def to_line(event: Event) -> str:
    """The event as one line of JSON."""
    return event.model_dump_json() + "\n"


def from_line(line: str) -> Event:
    """The event of one line. Raises `ValueError` if it is not one."""
    return _EVENT.validate_json(line)
