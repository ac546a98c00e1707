"""One line per network: its scores once, beside the latency of its best plan."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.columns import Value
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.timings import Quantity
from harness.leaderboard.board.titles import SETS

OF_A_PLAN = ("end_to_end_", "forward_", "first_call", "compile_", "plan_")


@dataclass(frozen=True, kw_only=True)
class NetworkLine:
    """A network's line in the table, and the builds and plans that open below it.

    `scored` is the row that the scores come from, `timed` the row of the plan that is shown (None
    if no plan has a latency), `values` the cells of the line. `repeats` are the builds whose scores
    are those of the line, so that they need not be printed again.
    """

    scored: Row
    timed: Row | None
    values: dict[str, Value]
    builds: tuple[Row, ...]
    repeats: frozenset[str]

    @property
    def network(self) -> str:
        """The key of the network."""
        return self.scored.network

    @property
    def shown(self) -> Row:
        """The row that names backend, plan and status."""
        return self.timed or self.scored

    def number(self, key: str) -> float | None:
        """The number in a column of the line, or None."""
        value = self.values.get(key)
        return value.number if value else None


def network_lines(board: Board, reference: str) -> tuple[NetworkLine, ...]:
    """One line per network, best Dice first, then fastest.

    Scores are those of the `reference` backend, in which networks are ranked, or of another if
    there are none. The plan is the fastest that may be published and computes in float32 with
    the weights that were scored; of plans that may not be published, the fastest, which keeps its
    stamp.
    """
    networks: dict[str, list[Row]] = {}
    for row in board.rows:
        networks.setdefault(row.network, []).append(row)
    quantity = board.timed_quantity
    lines = [_line(rows, reference, quantity) for rows in networks.values()]
    return tuple(sorted(lines, key=lambda line: _place(line, quantity)))


def _place(line: NetworkLine, quantity: Quantity | None) -> tuple[bool, float, bool, float, str]:
    found = [line.number(f"{set_name}_subject_dice") for set_name in SETS]
    known = [number for number in found if number is not None]
    latency = line.number(f"{quantity}_p50_ms")
    return (
        not known,
        -known[0] if known else 0.0,
        latency is None,
        inf if latency is None else latency,
        line.network,
    )


def _line(rows: list[Row], reference: str, quantity: Quantity | None) -> NetworkLine:
    scored = min(
        rows,
        key=lambda row: (row.mean_dice is None, row.backend != reference, not row.has_result),
    )
    same = [row for row in rows if weights_of(row) == weights_of(scored)]
    timed = _best_plan(same, quantity)
    values = dict(scored.values)
    if timed is not None:
        values |= {key: value for key, value in timed.values.items() if _of_a_plan(key)}
    return NetworkLine(
        scored=scored,
        timed=timed,
        values=values,
        builds=tuple(sorted(rows, key=lambda row: (_latency(row, quantity), row.id))),
        repeats=frozenset(row.id for row in same if _scores(row) == _scores(scored)),
    )


def weights_of(row: Row) -> tuple[str, ...]:
    """The weights behind a row, by hash and in the order of its seeds; empty if none was trained.

    A line never takes its latency from weights other than those it was scored with.
    """
    records = row.seeds.records if row.seeds else []
    return tuple(record.training.weights_sha256 for record in records if record.training)


def _best_plan(rows: Iterable[Row], quantity: Quantity | None) -> Row | None:
    timed = [row for row in rows if _latency(row, quantity) < inf]
    return min(
        timed,
        key=lambda row: (
            row.precision != "float32",
            bool(row.stamp),
            _latency(row, quantity),
            row.id,
        ),
        default=None,
    )


def _latency(row: Row, quantity: Quantity | None) -> float:
    number = row.number(f"{quantity}_p50_ms")
    return inf if number is None else number


def _of_a_plan(key: str) -> bool:
    return key.startswith(OF_A_PLAN) or key.endswith("_mib")


def _scores(row: Row) -> list[float | None]:
    return [row.number(f"{set_name}_dice") for set_name in SETS]
