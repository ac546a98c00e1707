"""Boards: records that may stand in one table, and the tables made of them.

A board holds one data set, one protocol and one machine, by their hashes and name. Records of
another hash or machine never enter its table, so that no figure is compared with one that was
found under other conditions.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import groupby

import pandas as pd

from harness import registry
from harness.errors import RecordError, UsageError
from harness.leaderboard.columns import COLUMNS, MEMORY, Column
from harness.leaderboard.rows import Cell, Row, rows_of, todo_row
from harness.record_schema import Machine, Record
from harness.records import StoredRecord

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
    cells: tuple[Cell, ...]
    rows: tuple[Row, ...]
    columns: tuple[Column, ...]
    gallery: pd.DataFrame | None

    @property
    def records(self) -> list[Record]:
        """All records of the board."""
        return [record for cell in self.cells for record in cell.records]

    @property
    def title(self) -> str:
        """Data set, protocol and machine in one line."""
        return f"{self.dataset_title} · {self.protocol} · {self.machine_title}"


def build_boards(
    stored: Iterable[StoredRecord],
    galleries: Mapping[tuple[str, str], pd.DataFrame],
    *,
    dataset: str | None = None,
    protocol: str | None = None,
) -> list[Board]:
    """Group records into boards, largest first, and make their rows.

    `dataset` and `protocol` keep only the boards of that name, or whose hash begins so. Raises
    `UsageError` where that leaves none and `RecordError` where a name is unsafe.
    """
    chosen = [s for s in stored if _chosen(s.record, dataset, protocol)]
    if not chosen:
        raise UsageError(_nothing(list(stored), dataset, protocol))
    for item in chosen:
        _check_names(item)
    chosen.sort(key=lambda item: (_identity(item.record), _place(item.record)))
    groups = [list(g) for _, g in groupby(chosen, key=lambda item: _identity(item.record))]
    if len(groups) > MAX_BOARDS:
        raise UsageError(
            f"the records make {len(groups)} tables (data set × protocol × machine) and a page "
            f"holds {MAX_BOARDS}: choose with --dataset or --protocol."
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


def _chosen(record: Record, dataset: str | None, protocol: str | None) -> bool:
    key = record.key
    return (dataset is None or dataset == key.dataset or _begins(key.dataset_hash, dataset)) and (
        protocol is None or protocol == key.protocol or _begins(key.protocol_hash, protocol)
    )


def _begins(digest: str, start: str) -> bool:
    return len(start) >= 4 and digest.startswith(start)


def _nothing(stored: list[StoredRecord], dataset: str | None, protocol: str | None) -> str:
    if not stored:
        return "there are no records to report: start with `fetalbench run`."
    for what, wanted in (("dataset", dataset), ("protocol", protocol)):
        known = sorted({getattr(item.record.key, what) for item in stored})
        if wanted is not None and wanted not in known:
            close = get_close_matches(wanted, known, n=1, cutoff=0.4)
            hint = f"did you mean {close[0]!r}?" if close else f"known are {', '.join(known)}."
            return f"no record has the {what} {wanted!r}: {hint}"
    return f"no record has both the dataset {dataset!r} and the protocol {protocol!r}."


def _check_names(item: StoredRecord) -> None:
    key = item.record.key
    names = {
        "network": key.network,
        "backend": key.backend,
        "dataset": key.dataset,
        "protocol": key.protocol,
        "machine": item.record.provenance.machine.name,
    }
    for what, name in names.items():
        try:
            registry.check_name(name, what)
        except UsageError as error:
            raise RecordError(f"{item.folder}: {error} Delete the record.") from None


def _board(items: list[StoredRecord], galleries: Mapping[tuple[str, str], pd.DataFrame]) -> Board:
    first = items[0].record
    key, machine = first.key, first.provenance.machine
    cells = tuple(
        Cell(network=network, backend=backend, stored=tuple(group))
        for (network, backend), group in groupby(
            items, key=lambda item: (item.record.key.network, item.record.key.backend)
        )
    )
    rows = sorted(
        [*(row for cell in cells for row in rows_of(cell)), *_todo(cells)], key=_by_accuracy
    )
    dataset = f"{key.dataset}-{key.dataset_hash[:8]}"
    protocol = f"{key.protocol}-{key.protocol_hash[:8]}"
    identity = re.sub(r"[^a-z0-9-]+", "-", f"{dataset}--{protocol}--{machine.name}")
    return Board(
        id=identity,
        dataset=key.dataset,
        dataset_title=str(first.dataset.get("title") or key.dataset),
        dataset_hash=key.dataset_hash,
        protocol=key.protocol,
        protocol_hash=key.protocol_hash,
        machine=machine,
        machine_title=f"{machine.gpu or machine.processor}, {machine.cores} cores",
        cells=cells,
        rows=tuple(replace(row, id=f"{identity}--{row.id}") for row in rows),
        columns=columns_of(rows),
        gallery=galleries.get((dataset, protocol)),
    )


def _todo(cells: tuple[Cell, ...]) -> list[Row]:
    """Cells that the records' grid asks for and that none of them is.

    The grid is the protocol's where it names networks or backends; where it does not, it is every
    network that was run in a framework times every framework that was used.
    """
    titles = {cell.network: cell.title for cell in cells}
    done = {(cell.network, cell.backend) for cell in cells}
    trained = [cell for cell in cells if cell.backend != "numpy"]
    networks = {cell.network for cell in trained}
    backends = {cell.backend for cell in trained}
    for record in (record for cell in cells for record in cell.records):
        grid = record.protocol.get("grid")
        if isinstance(grid, dict):
            networks |= {str(n) for n in grid.get("networks") or () if n not in titles}
            backends |= {str(b) for b in grid.get("backends") or () if b != "numpy"}
    return [
        todo_row(network, titles.get(network, network), backend)
        for network in sorted(networks)
        for backend in sorted(backends)
        if (network, backend) not in done
    ]


def _by_accuracy(row: Row) -> tuple:
    """Best mean Dice first; equal accuracy by latency; what failed or is to do comes last."""
    dice = row.values.get("normal_dice") or row.values.get("challenging_dice")
    latency = row.values.get("end_to_end_p50_ms")
    return (
        row.status != "ok",
        row.status == "todo",
        -(dice.number if dice and dice.number is not None else -1),
        latency.number if latency and latency.number is not None else float("inf"),
        row.id,
    )


def columns_of(rows: Sequence[Row]) -> tuple[Column, ...]:
    """Columns that hold a number somewhere; of the memory quantities the first is shown."""

    def known(key: str) -> bool:
        return any(key in row.values and row.values[key].number is not None for row in rows)

    keys = [f"{key.removesuffix('_bytes')}_mib" for key in MEMORY]
    memory = next((key for key in keys if known(key)), None)
    return tuple(
        replace(column, shown=column.shown or column.key == memory)
        for column in COLUMNS
        if known(column.key) or (column.shown and not column.key.endswith("_rank"))
    )
