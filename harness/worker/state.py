"""What a worker process has at hand for each of its cells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backends.contract import Backend, Network
from harness import registry
from harness.data.catalogue import Dataset
from harness.jobs.job import Job
from harness.measuring import entries as cell_latency
from harness.measuring.memory import Meter
from harness.records import store as records
from harness.records.schema import CellKey
from harness.records.store import StoredRecord
from harness.worker.weights import Outcome, find_weights

Report = Callable[[dict[str, Any]], None]


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
        """The cell's record as it stands, None where it is not there or damaged."""
        return records.find_usable(self.job.results, self.job.machine, cell)

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

    def rebuild(self, cell: CellKey) -> Network:
        """The network as its record has it, in a process that has not trained it."""
        network = self.build(cell)
        if network.weight_specs() and not cell_latency.own_weights(self.stored(cell), network):
            find_weights(
                self.job, cell, self.backend, network, self.dataset, Outcome(), self.report
            )
        return network
