"""Boards: records that may stand in one table, and the tables made of them.

A board holds one data set, one protocol (both by hash) and one machine (by name). Records with
another hash or machine never enter its table, so that no figure is compared with one obtained under
other conditions.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

import pandas as pd

from harness import registry
from harness.errors import RecordError, UsageError, unknown
from harness.leaderboard.board.columns import COLUMNS, MEMORY, WEIGHTS_MIB, Column
from harness.leaderboard.board.rows import SEPARATOR, Row, rows_of, todo_row
from harness.leaderboard.board.seed_groups import SeedGroup
from harness.leaderboard.board.timings import QUANTITIES, Quantity
from harness.leaderboard.board.titles import SETS
from harness.records.schema import Machine, Record
from harness.records.selection import choose, declared
from harness.records.store import StoredRecord

MAX_BOARDS = 12


@dataclass(frozen=True, kw_only=True)
class Board:
    """One table: one data set, one protocol, one machine."""

    id: str
    dataset: str
    dataset_title: str
    dataset_hash: str
    protocol: str
    protocol_hash: str
    machine: Machine
    machine_title: str
    seed_groups: tuple[SeedGroup, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    gallery: pd.DataFrame | None

    @property
    def records(self) -> list[Record]:
        """All records of the board."""
        return [stored.record for stored in self.stored]

    @property
    def stored(self) -> list[StoredRecord]:
        """All records of the board, with their files."""
        return [stored for group in self.seed_groups for stored in group.stored]

    @property
    def title(self) -> str:
        """Data set, protocol and machine in one line."""
        return f"{self.dataset_title} · {self.protocol} · {self.machine_title}"

    @property
    def timed_quantity(self) -> Quantity | None:
        """The latency that the board speaks of: end to end if that was measured."""
        for quantity in reversed(QUANTITIES):
            if any(row.number(f"{quantity}_p50_ms") is not None for row in self.rows):
                return quantity
        return None

    @property
    def memory_column(self) -> Column | None:
        """The memory quantity that the table shows."""
        return next((c for c in self.columns if c.key.endswith("_mib") and c.shown), None)


def build_boards(
    stored: Iterable[StoredRecord],
    galleries: Mapping[tuple[str, str], pd.DataFrame],
    *,
    dataset: str | None = None,
    protocol: str | None = None,
    machine: str | None = None,
) -> list[Board]:
    """Group records into boards, largest first, and make their rows.

    `dataset` and `protocol` keep the boards with that name or start of the hash, `machine` those
    with that name. Raises `UsageError` if none is left and `RecordError` if a name is unsafe.
    """
    known = list(stored)
    wanted = {"dataset": dataset, "protocol": protocol, "machine": machine}
    chosen = choose(known, dataset=dataset or "", protocol=protocol or "", machine=machine or "")
    if not chosen:
        raise UsageError(_nothing(known, wanted))
    for item in chosen:
        _check_names(item)
    chosen.sort(key=lambda item: (_identity(item.record), _place(item.record)))
    groups = [list(g) for _, g in groupby(chosen, key=lambda item: _identity(item.record))]
    if len(groups) > MAX_BOARDS:
        raise UsageError(
            f"the records make {len(groups)} tables (data set × protocol × machine), and a page "
            f"holds {MAX_BOARDS}: choose with --dataset, --protocol or --machine."
        )
    boards = [_board(items, galleries) for items in groups]
    return sorted(boards, key=lambda board: (-len(board.records), board.id))


def _identity(record: Record) -> tuple[str, str, str, str, str]:
    key = record.key
    machine = record.provenance.machine.name
    return key.dataset, key.dataset_hash, key.protocol, key.protocol_hash, machine


def _place(record: Record) -> tuple[str, int, str, int]:
    order = list(registry.BACKEND_TITLES)
    backend = record.key.backend
    position = order.index(backend) if backend in order else len(order)
    return record.key.network, position, backend, record.key.seed


def _nothing(stored: list[StoredRecord], wanted: Mapping[str, str | None]) -> str:
    if not stored:
        return "there are no records to report: start with `fetalbench run`."
    for what, name in wanted.items():
        known = sorted({_names(item.record)[what] for item in stored})
        if name is not None and name not in known:
            return str(unknown(what, name, known))
    asked = [f"the {what} {name!r}" for what, name in wanted.items() if name is not None]
    return f"no record has {' and '.join(asked)} together."


def _names(record: Record) -> dict[str, str]:
    key = record.key
    return {
        "network": key.network,
        "backend": key.backend,
        "dataset": key.dataset,
        "protocol": key.protocol,
        "machine": record.provenance.machine.name,
    }


def _check_names(item: StoredRecord) -> None:
    names = {
        *_names(item.record).items(),
        *(("plan", entry.plan) for entry in item.record.latency),
        *(("precision", entry.precision) for entry in item.record.latency),
    }
    for what, name in sorted(names):
        try:
            registry.check_name(name, what)
        except UsageError as error:
            raise RecordError(f"{item.folder}: {error} Delete the record.") from None


def _board(items: list[StoredRecord], galleries: Mapping[tuple[str, str], pd.DataFrame]) -> Board:
    first = items[0].record
    key, machine = first.key, first.provenance.machine
    groups = tuple(
        SeedGroup(network=network, backend=backend, stored=tuple(seeds))
        for (network, backend), seeds in groupby(
            items, key=lambda item: (item.record.key.network, item.record.key.backend)
        )
    )
    rows = sorted(
        [*(row for group in groups for row in rows_of(group)), *_todo(groups)], key=_by_accuracy
    )
    dataset = f"{key.dataset}-{key.dataset_hash[:8]}"
    protocol = f"{key.protocol}-{key.protocol_hash[:8]}"
    identity = SEPARATOR.join((dataset, protocol, machine.name))
    return Board(
        id=identity,
        dataset=key.dataset,
        dataset_title=str(first.dataset.get("title") or key.dataset),
        dataset_hash=key.dataset_hash,
        protocol=key.protocol,
        protocol_hash=key.protocol_hash,
        machine=machine,
        machine_title=f"{machine.gpu or machine.processor}, {machine.cores} cores",
        seed_groups=groups,
        rows=tuple(replace(row, id=f"{identity}{SEPARATOR}{row.id}") for row in rows),
        columns=columns_of(rows),
        gallery=galleries.get((dataset, protocol)),
    )


def _todo(groups: tuple[SeedGroup, ...]) -> list[Row]:
    """A row for each network and backend that the records' grid asks for and that has no record."""
    titles = {group.network: group.title for group in groups}
    done = {(group.network, group.backend) for group in groups}
    asked = declared([stored for group in groups for stored in group.stored])
    return [
        todo_row(network, titles.get(network, network), backend)
        for backend, networks in asked.items()
        for network in networks
        if (network, backend) not in done
    ]


def _by_accuracy(row: Row) -> tuple[bool, bool, float, float, str]:
    """Best mean Dice first, ties by latency; rows without scores come last."""
    dice, hard = row.number("normal_dice"), row.number("challenging_dice")
    score = hard if dice is None else dice
    latency = row.number("end_to_end_p50_ms")
    return (
        score is None,
        row.status == "todo",
        -(score or 0.0),
        float("inf") if latency is None else latency,
        row.id,
    )


def columns_of(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Columns that hold a number somewhere or that a reader would miss, with one for memory shown.

    If networks were timed and none was scored, nobody misses the scores. The memory quantity shown
    is the peak that most rows have (the first of several), because a figure that one row alone has
    compares nothing; it is never the size of the weights.
    """

    def known(key: str) -> int:
        return sum(row.number(key) is not None for row in rows)

    scored = any(known(f"{name}_dice") for name in SETS)
    timed = any(known(f"{quantity}_p50_ms") for quantity in QUANTITIES)

    def missed(column: Column) -> bool:
        if not column.shown or column.key.endswith("_rank") or column.key.startswith("plan_"):
            return False
        return scored or not timed or not column.key.startswith(SETS)

    keys = (f"{key.removesuffix('_bytes')}_mib" for key in MEMORY)
    memory = max((key for key in keys if key != WEIGHTS_MIB), key=known)
    return tuple(
        replace(column, shown=column.shown or column.key == memory)
        for column in COLUMNS
        if known(column.key) or missed(column)
    )
