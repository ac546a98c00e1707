"""What is behind a row: the command that repeats it, its records and their environments."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.columns import MISSING
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.timings import MIB, QUANTITIES
from harness.leaderboard.board.titles import QUANTITY_TITLES, STATUS_TITLES, backend_title
from harness.records.schema import Latency, Provenance, Record, Training
from harness.records.store import StoredRecord

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, kw_only=True)
class Environment:
    """One software and hardware environment, shared by the records that name its label."""

    label: str
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class RecordDetails:
    """One record behind a row; `path` is that of its folder from the results folder's parent,
    `files` are the names of those beside it."""

    seed: int
    status: str
    command: str
    path: str
    environment: str
    files: tuple[str, ...]
    facts: tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class RowDetails:
    """Everything that a row's details show."""

    row: Row
    records: tuple[RecordDetails, ...]
    batches: tuple[tuple[str, ...], ...]
    numbers: tuple[tuple[str, str, str], ...]


def environments(board: Board) -> dict[str, Environment]:
    """The distinct environments by the text of their provenance, in order of appearance."""
    found: dict[str, Environment] = {}
    for record in board.records:
        text = _identity(record.provenance)
        if text not in found:
            facts = _environment(record.provenance)
            found[text] = Environment(label=_label(len(found)), facts=facts)
    return found


def details(
    board: Board, found: Mapping[str, Environment], results: Path, *, brief: bool = False
) -> list[RowDetails]:
    """The details of every row with a record; with `brief`, a record is linked, not described.

    `found` is the result of `environments`.
    """
    return [
        RowDetails(
            row=row,
            records=tuple(
                RecordDetails(
                    seed=stored.record.key.seed,
                    status=STATUS_TITLES[stored.record.status],
                    command=stored.record.command,
                    path=place_of(stored, results),
                    environment=found[_identity(stored.record.provenance)].label,
                    files=() if brief else _files(stored.record),
                    facts=() if brief else _facts(stored.record),
                )
                for stored in row.seeds.stored
            ),
            batches=() if brief else _batches(row),
            numbers=() if brief else _numbers(board, row),
        )
        for row in board.rows
        if row.seeds
    ]


def place_of(stored: StoredRecord, results: Path) -> str:
    """The folder of a record, from the parent of the results folder."""
    return (Path(results.resolve().name) / stored.folder.relative_to(results)).as_posix()


def _numbers(board: Board, row: Row) -> tuple[tuple[str, str, str], ...]:
    """Column, value and remark of each number of a row, missing ones included."""
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


def _files(record: Record) -> tuple[str, ...]:
    """The files beside a record, weights first; the record holds the hash of each."""
    return tuple(sorted(record.files, key=lambda name: (not name.startswith("weights"), name)))


def _facts(record: Record) -> tuple[tuple[str, str], ...]:
    facts = [("Written", record.created_at)]
    if record.reason:
        facts.append(("Reason", record.reason))
    if record.seconds is not None:
        facts.append(("Wall time", f"{record.seconds:.0f} s"))
    if training := record.training:
        facts.append(("Training", _training(training)))
    facts += _process(record.latency)
    for name, quantity in record.memory.items():
        text = f"{quantity.bytes / MIB:,.1f} MiB" if quantity.bytes is not None else None
        facts.append((name, text or f"unknown: {quantity.reason or 'no reason given'}"))
    facts += [("Note", note) for note in record.notes]
    return tuple(facts)


def _process(latency: Sequence[Latency]) -> list[tuple[str, str]]:
    """How the processes that timed were set up, as far as the record tells."""
    kinds = {True: "deterministic operations only", False: "any operation, the fastest"}
    found = {kinds[entry.deterministic] for entry in latency if entry.deterministic is not None}
    waits = [entry.synchronise_ms for entry in latency if entry.synchronise_ms is not None]
    facts = [("Timed with", " or ".join(sorted(found)))] if found else []
    if waits:
        facts.append(("Waiting for an idle device", f"{max(waits):.3f} ms at most, in each query"))
    return facts


def _training(training: Training) -> str:
    kept = {True: ", deterministic operations", False: ", any operation", None: ""}
    return (
        f"in {backend_title(training.weights_from)}, {training.precision}, loss {training.loss}, "
        f"best epoch {training.best_epoch} of {training.epochs} (validation Dice "
        f"{100 * training.best_validation_dice:.2f} %), {training.train_slices} + "
        f"{training.validation_slices} slices, {training.seconds:.0f} s"
        f"{kept[training.deterministic]}; weights sha256 "
        f"{training.weights_sha256[:12]}…"
    )


def _batches(row: Row) -> tuple[tuple[str, ...], ...]:
    """Rows of the latency table: quantity, batch, median, p90, per slice, queries, status."""
    return tuple(
        (QUANTITY_TITLES[quantity], str(batch), *_timing(entry))
        for quantity in reversed(QUANTITIES)
        for batch, entry in sorted(row.latencies(quantity).items())
    )


def _timing(entry: Latency) -> tuple[str, ...]:
    if entry.status != "ok" or entry.median_ms is None:
        reason = entry.reason or STATUS_TITLES[entry.status]
        return MISSING, MISSING, MISSING, str(entry.queries), reason
    p90 = f"{entry.p90_ms:.3f}" if entry.p90_ms is not None else "too few queries"
    steady = " ".join([*entry.doubts, *entry.growth, *entry.remarks]) or "ok"
    per_slice = f"{entry.median_ms / entry.batch:.3f}"
    return f"{entry.median_ms:.3f}", p90, per_slice, str(entry.queries), steady
