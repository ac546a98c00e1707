"""What a worker process has at hand for its cells, and what it has found for one of them."""

from __future__ import annotations

from dataclasses import dataclass, field

import pandas as pd

from backends.contract import Backend, Network, WeightSpec
from harness import registry
from harness.data.catalogue import Dataset
from harness.jobs.events import Report
from harness.jobs.job import Job
from harness.measuring.memory import Meter
from harness.records import store
from harness.records.schema import CellKey, Cost, SetScores, Training
from harness.records.store import StoredRecord


class Stopped(Exception):
    """The user interrupted, or the parent is gone; what is worth keeping is saved."""


@dataclass
class Outcome:
    """What a cell has found so far; it goes into the record even if a later part fails."""

    specs: tuple[WeightSpec, ...] = ()
    cost: Cost | None = None
    cost_reason: str | None = None
    training: Training | None = None
    scores: dict[str, SetScores] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)


@dataclass(kw_only=True)
class Worker:
    """One process: its job, the framework that it has imported, the data.

    `poisoned` says that the process must not serve another cell.
    """

    job: Job
    backend: Backend
    dataset: Dataset
    meter: Meter
    report: Report
    poisoned: bool = False

    def find(self, cell: CellKey) -> StoredRecord | None:
        """The cell's record as it stands, None if it is not there or damaged."""
        return store.find_usable(self.job.results, self.job.machine, cell)

    def stored(self, cell: CellKey) -> StoredRecord:
        """The cell's record, which this process has seen to."""
        found = self.find(cell)
        assert found is not None, "a record stands before anything is added to it"
        return found

    def build(self, cell: CellKey) -> Network:
        """The network, without weights yet."""
        chosen = self.job.protocol.input
        return registry.build(
            self.backend,
            cell.network,
            height=chosen.height,
            width=chosen.width,
            classes=chosen.classes,
        )
