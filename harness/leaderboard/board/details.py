"""What stands behind a row: the command that repeats it, its records and where they come from."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.cells import STATUS_TITLES, backend_title
from harness.leaderboard.board.columns import MISSING
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.timings import MIB, timed
from harness.records.schema import Latency, Provenance, Record

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One software and hardware environment, shared by the records that name its label."""

    label: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class SeedDetails:
    """One record behind a row; `path` is relative to the results folder's parent."""

    seed: int
    status: str
    command: str
    path: str
    environment: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class RowDetails:
    """All that a row's details show."""

    row: Row
    seeds: tuple[SeedDetails, ...]
    batches: tuple[tuple[str, ...], ...]
    numbers: tuple[tuple[str, str, str], ...]


def environments(board: Board) -> tuple[dict[str, str], list[Environment]]:
    """Labels by the provenance's text, and the distinct environments in order of appearance."""
    labels: dict[str, str] = {}
    found = []
    for record in board.records:
        text = _identity(record.provenance)
        if text not in labels:
            labels[text] = _label(len(labels))
            found.append(Environment(label=labels[text], facts=_environment(record.provenance)))
    return labels, found


def details(
    board: Board, labels: dict[str, str], results: Path, *, brief: bool = False
) -> list[RowDetails]:
    """The details of every row that has a record; `brief` says of a record only where it is."""
    return [
        RowDetails(
            row=row,
            seeds=tuple(
                SeedDetails(
                    seed=stored.record.key.seed,
                    status=STATUS_TITLES[stored.record.status],
                    command=stored.record.command,
                    path=(
                        Path(results.resolve().name) / stored.folder.relative_to(results)
                    ).as_posix(),
                    environment=labels[_identity(stored.record.provenance)],
                    facts=() if brief else _facts(stored.record),
                )
                for stored in row.cell.stored
            ),
            batches=() if brief else _batches(row),
            numbers=() if brief else _numbers(board, row),
        )
        for row in board.rows
        if row.cell
    ]


def _numbers(board: Board, row: Row) -> tuple[tuple[str, str, str], ...]:
    """Column, value and remark of each number of a row, and of each that is missing."""
    return tuple(
        (f"{column.group}, {column.label}", value.text, value.note)
        for column in board.columns
        if (value := row.values.get(column.key))
    )


def _identity(provenance: Provenance) -> str:
    return json.dumps(provenance.model_dump(), sort_keys=True)


def _label(index: int) -> str:
    return LETTERS[index] if index < len(LETTERS) else f"{LETTERS[index % 26]}{index // 26}"


def _environment(provenance: Provenance) -> tuple[tuple[str, str], ...]:
    machine = provenance.machine
    commit = provenance.git_commit or "unknown"
    dirty = {True: ", with uncommitted changes", False: "", None: ""}[provenance.git_dirty]
    memory = f"{machine.memory_bytes / 2**30:.1f} GiB"
    facts = [
        ("Machine", f"{machine.name}: {machine.processor}, {machine.cores} cores, {memory}"),
        ("GPU", machine.gpu or "none"),
        ("System", machine.system),
        ("fetalbench", f"{provenance.fetalbench}, commit {commit}{dirty}"),
        ("Python", provenance.python),
        ("Packages", ", ".join(f"{k} {v}" for k, v in sorted(provenance.versions.items()))),
        ("Variables", ", ".join(f"{k}={v}" for k, v in sorted(provenance.environment.items()))),
    ]
    return tuple((name, text or "none") for name, text in facts)


def _facts(record: Record) -> tuple[tuple[str, str], ...]:
    facts = [("Written", record.created_at)]
    if record.reason:
        facts.append(("Reason", record.reason))
    if record.seconds is not None:
        facts.append(("Wall time", f"{record.seconds:.0f} s"))
    if training := record.training:
        facts.append(
            (
                "Training",
                f"in {backend_title(training.weights_from)}, loss {training.loss}, best epoch "
                f"{training.best_epoch} of {training.epochs} (validation Dice "
                f"{100 * training.best_validation_dice:.2f} %), {training.train_slices} + "
                f"{training.validation_slices} slices, {training.seconds:.0f} s; weights sha256 "
                f"{training.weights_sha256[:12]}…",
            )
        )
    for name, quantity in record.memory.items():
        text = f"{quantity.bytes / MIB:,.1f} MiB" if quantity.bytes is not None else None
        facts.append((name, text or f"unknown: {quantity.reason or 'no reason given'}"))
    facts += [("Note", note) for note in record.notes]
    return tuple(facts)


def _batches(row: Row) -> tuple[tuple[str, ...], ...]:
    """Rows of the latency table: quantity, batch, median, p90, per slice, queries, status."""
    assert row.cell is not None
    lines = []
    for quantity, title in (("end_to_end", "end to end"), ("forward", "forward")):
        for batch, entry in sorted(timed(row.cell, row.plan, row.precision, quantity).items()):
            lines.append((title, str(batch), *_timing(entry)))
    return tuple(lines)


def _timing(entry: Latency) -> tuple[str, ...]:
    if entry.status != "ok" or entry.median_ms is None:
        reason = entry.reason or STATUS_TITLES[entry.status]
        return MISSING, MISSING, MISSING, str(entry.queries), reason
    p90 = f"{entry.p90_ms:.3f}" if entry.p90_ms is not None else "too few queries"
    steady = " ".join([*entry.doubts, *entry.growth, *entry.remarks]) or "ok"
    per_slice = f"{entry.median_ms / entry.batch:.3f}"
    return f"{entry.median_ms:.3f}", p90, per_slice, str(entry.queries), steady
