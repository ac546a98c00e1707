"""The records of one network in one backend, and what a reader calls things."""

from __future__ import annotations

from dataclasses import dataclass

from harness import registry
from harness.records.schema import Record
from harness.records.selection import is_scored, lost_seeds
from harness.records.store import StoredRecord

STATUS_TITLES = {
    "ok": "ok",
    "oom": "out of memory",
    "timeout": "timed out",
    "crashed": "crashed",
    "invalid": "invalid",
    "diverged": "diverged",
    "unsupported": "unsupported",
    "not_implemented": "not implemented",
    "todo": "to do",
}


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All seeds of one network in one backend, on one machine, lowest seed first."""

    network: str
    backend: str
    stored: tuple[StoredRecord, ...]

    @property
    def records(self) -> list[Record]:
        """The records, lowest seed first."""
        return [stored.record for stored in self.stored]

    @property
    def finished(self) -> list[StoredRecord]:
        """The seeds that ended well: those whose latency and memory may be shown."""
        return [stored for stored in self.stored if stored.record.status == "ok"]

    @property
    def scored(self) -> list[StoredRecord]:
        """The seeds with scores, whatever became of their latency."""
        return [stored for stored in self.stored if is_scored(stored)]

    @property
    def lost(self) -> list[StoredRecord]:
        """Seeds that ended without scores where others have some; they count as the worst."""
        return lost_seeds(self.stored)

    @property
    def title(self) -> str:
        """The network's name as its card wrote it when the cell ran."""
        return self.records[0].title


def backend_title(name: str) -> str:
    """What a reader calls a backend."""
    return registry.BACKEND_TITLES.get(name, name)
