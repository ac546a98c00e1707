"""What was run on a board: data, protocol, seeds and exclusions, as lines of text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from harness.leaderboard.board.boards import Board

MAX_LISTED = 50


@dataclass(frozen=True, kw_only=True)
class FactList:
    """A titled list of facts."""

    title: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class WhatWasRun:
    """The facts, the exclusions, and counts by set: slices, with brain, stacks, subjects."""

    sections: tuple[FactList, ...]
    counts: tuple[tuple[str, ...], ...]
    excluded: tuple[tuple[str, str], ...]
    excluded_more: int


def what_was_run(board: Board) -> WhatWasRun:
    """The facts that all records of a board share, read from the first."""
    record = board.records[0]
    seeds = sorted({r.key.seed for r in board.records})
    data = [
        ("Name", board.dataset),
        ("Title", board.dataset_title),
        ("Kind", str(record.dataset.get("kind", "unknown"))),
        ("Source", str(record.dataset.get("source", ""))),
        ("Licence", str(record.dataset.get("licence", ""))),
        ("Split", _split(record.dataset.get("split"))),
        ("Hash", board.dataset_hash),
    ]
    protocol = [("Name", board.protocol), ("Hash", board.protocol_hash)]
    protocol += [("Seeds", ", ".join(map(str, seeds)))]
    protocol += [
        (name, _flat(value))
        for name, value in record.protocol.items()
        if name not in ("name", "grid", "limits") and _flat(value)
    ]
    excluded = [
        (str(entry.get("case", "?")), str(entry.get("reason", "")))
        for entry in record.dataset.get("excluded") or ()
        if isinstance(entry, dict)
    ]
    return WhatWasRun(
        sections=(
            FactList(title="Data", facts=tuple(fact for fact in data if fact[1])),
            FactList(title="Protocol", facts=tuple(protocol)),
        ),
        counts=_counts(record.dataset.get("sets")),
        excluded=tuple(excluded[:MAX_LISTED]),
        excluded_more=max(0, len(excluded) - MAX_LISTED),
    )


def _split(split: Any) -> str:
    return f"by {split['by']}" if isinstance(split, dict) and "by" in split else ""


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_flat(item)}" for key, item in value.items() if item != {})
    if isinstance(value, list | tuple):
        return "/".join(map(str, value))
    return str(value)


def _counts(counts: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(counts, dict):
        return ()
    keys = ("slices", "slices_with_brain", "stacks", "subjects")
    return tuple(
        (name, *(str(numbers.get(key, "–")) for key in keys))
        for name, numbers in counts.items()
        if isinstance(numbers, dict)
    )
