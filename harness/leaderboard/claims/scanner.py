"""Which network for my scanner: the rows that meet a deadline, a memory limit and a least Dice.

The page's script asks the same questions of the same numbers with the reader's limits; the answers
found here are shown before it runs, and if scripts are off.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.titles import SETS

# An interactive sequence leaves 30 ms per slice; a HASTE stack leaves 1.4 s and more.
DEADLINE_MS = 30.0
LEAST_DICE = 80.0
SET = "normal"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row's numbers for the choice: 90th-percentile end-to-end latency, memory, lower bounds.

    `out` says why a row without a result never qualifies, `p90_why` why the latency is unknown;
    `why` is empty if the row meets the default limits.
    """

    row: Row
    name: str
    network: str
    out: str
    p90_ms: float | None
    p90_why: str
    memory_mib: float | None
    lows: dict[str, float | None]
    why: str


def candidates(board: Board) -> list[Candidate]:
    """All rows, those that meet the default limits first, fastest first."""
    column = board.memory_column
    found = []
    for row in board.rows:
        p90 = row.number("end_to_end_p90_ms")
        out, p90_why = _out(row), _p90_why(row)
        lows = {name: _low(row, f"{name}_subject_dice") for name in SETS}
        found.append(
            Candidate(
                row=row,
                name=row.name,
                network=row.network,
                out=out,
                p90_ms=p90,
                p90_why=p90_why,
                memory_mib=row.number(column.key) if column else None,
                lows=lows,
                why=out or _why(p90, p90_why, lows[SET]),
            )
        )
    return sorted(found, key=lambda c: (c.why != "", c.p90_ms is None, c.p90_ms or 0, c.name))


def _out(row: Row) -> str:
    """Why a row has no result at all; empty if it has one."""
    if row.status == "todo":
        return "it has not been run yet"
    if row.has_result:
        return ""
    return f"it has no result ({row.status_title}): {row.reason}".rstrip(": ")


def _p90_why(row: Row) -> str:
    value = row.values.get("end_to_end_p90_ms")
    reason = f" ({value.note.rstrip('.')})" if value and value.number is None and value.note else ""
    return f"its 90th-percentile latency is unknown{reason}"


def _why(p90: float | None, p90_why: str, low: float | None) -> str:
    reasons = []
    if p90 is None:
        reasons.append(p90_why)
    elif p90 > DEADLINE_MS:
        reasons.append(f"it takes {p90:.1f} ms")
    if low is None:
        reasons.append("its Dice has no confidence interval")
    elif low < LEAST_DICE:
        reasons.append(f"its Dice may be as low as {low:.1f} %")
    return " and ".join(reasons)


def _low(row: Row, key: str) -> float | None:
    value = row.values.get(key)
    return value.interval[0] if value and value.interval else None
