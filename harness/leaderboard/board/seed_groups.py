"""The seeds of one network in one backend, whose scores the leaderboard averages."""

from __future__ import annotations

from dataclasses import dataclass

from harness.records.schema import Record
from harness.records.selection import is_scored, lost_seeds
from harness.records.store import StoredRecord


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
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
        """The seeds that succeeded: those whose latency and memory may be shown."""
        return [stored for stored in self.stored if stored.record.status == "ok"]

    @property
    def scored(self) -> list[StoredRecord]:
        """The seeds with scores, even if their latency failed."""
        return [stored for stored in self.stored if is_scored(stored)]

    @property
    def lost(self) -> list[StoredRecord]:
        """Seeds without scores when other seeds have some; they count as the worst."""
        return lost_seeds(self.stored)

    @property
    def first(self) -> Record:
        """The record behind what is never averaged: the lowest seed that got furthest."""
        return (self.finished or self.scored or self.stored)[0].record

    @property
    def has_result(self) -> bool:
        """Whether any seed succeeded or was scored."""
        return bool(self.finished or self.scored)

    @property
    def title(self) -> str:
        """The network's name, as its card wrote it when the first seed ran."""
        return self.records[0].title
