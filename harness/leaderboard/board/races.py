"""How certain a latency is: intervals over processes, each row against the fastest of its plan."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pandas as pd

from harness.leaderboard.board.boards import Board, columns_of
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.timings import QUANTITIES, Quantity
from harness.records.store import LATENCY
from harness.statistics.latency import LatencyRatio, latency_ratio, median_interval


@dataclass(frozen=True, kw_only=True)
class RatioRow:
    """One row against the fastest; `ratio` is above 1 if it is slower."""

    row: Row
    ratio: LatencyRatio


@dataclass(frozen=True, kw_only=True)
class Race:
    """All rows of one backend, plan and precision against the fastest of them, fastest first."""

    title: str
    fastest: Row
    rows: tuple[RatioRow, ...]


def samples(row: Row, quantity: Quantity, batch: int = 1) -> pd.DataFrame | None:
    """The raw queries behind a row's latency; None if it has no valid latency or no samples."""
    entry, stored = row.latencies(quantity).get(batch), row.timed_record(quantity)
    if entry is None or entry.status != "ok" or stored is None:
        return None
    if LATENCY not in stored.record.files:
        return None
    table = stored.latency_samples()
    own = table[entry.condition.mask(table)]
    return None if own.empty else own


def with_intervals(board: Board) -> Board:
    """The board with an interval beside each median latency that several processes measured."""
    rows = tuple(_with_interval(row) for row in board.rows)
    return replace(board, rows=rows, columns=columns_of(rows))


def _with_interval(row: Row) -> Row:
    values = dict(row.values)
    for quantity in QUANTITIES:
        key = f"{quantity}_p50_ms"
        own = samples(row, quantity) if row.number(key) is not None else None
        if own is None:
            continue
        found = median_interval(own)
        if found.ci_low_ms is None or found.ci_high_ms is None:
            note = f"{values[key].note}; no interval: {found.reason}"
            values[key] = replace(values[key], note=note)
            continue
        ends = found.ci_low_ms, found.ci_high_ms
        note = f"95 % CI {ends[0]:.3g}–{ends[1]:.3g} ms over {found.processes} processes"
        values[key] = replace(values[key], interval=ends, note=f"{values[key].note}; {note}")
    return replace(row, values=values)


def races(board: Board) -> list[Race]:
    """One race for each backend, plan and precision in which two rows have samples."""
    quantity = board.timed_quantity
    if quantity is None:
        return []
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for row in board.rows:
        if row.number(f"{quantity}_p50_ms") is not None:
            groups.setdefault((row.backend, row.plan, row.precision), []).append(row)
    return [race for _, rows in sorted(groups.items()) if (race := _race(rows, quantity))]


def _race(rows: list[Row], quantity: Quantity) -> Race | None:
    found = [(row, own) for row in rows if (own := samples(row, quantity)) is not None]
    found.sort(key=lambda pair: (pair[0].number(f"{quantity}_p50_ms") or 0, pair[0].id))
    if len(found) < 2:
        return None
    (fastest, reference), *others = found
    return Race(
        title=f"{fastest.backend_title}, {fastest.plan}, {fastest.precision}",
        fastest=fastest,
        rows=tuple(
            RatioRow(row=row, ratio=latency_ratio(own, reference, names=(row.title, fastest.title)))
            for row, own in others
        ),
    )
