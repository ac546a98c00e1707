"""Which network for my scanner: the rows that meet a deadline, a memory limit and a least Dice.

The page's script asks the same questions of the same numbers, with the reader's limits; what is
worked out here stands on the page before the script runs, and where none runs.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.leaderboard.boards import Board
from harness.leaderboard.columns import SETS
from harness.leaderboard.rows import Row

# 30 ms is an interactive sequence's time a slice; a HASTE stack leaves 1.4 s and more.
DEADLINE_MS = 30.0
LEAST_DICE = 80.0
SET = "normal"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row's numbers for the choice: 90th-percentile end-to-end latency, memory, lower bounds.

    `why` is empty where the row meets the default limits.
    """

    name: str
    network: str
    p90_ms: float | None
    memory_mib: float | None
    lows: dict[str, float | None]
    why: str


def candidates(board: Board) -> list[Candidate]:
    """All finished rows, those that meet the default limits first, fastest first."""
    memory = next((c.key for c in board.columns if c.key.endswith("_mib") and c.shown), "")
    found = []
    for row in board.rows:
        if row.status != "ok":
            continue
        p90 = _number(row, "end_to_end_p90_ms")
        lows = {name: _low(row, f"{name}_subject_dice") for name in SETS}
        found.append(
            Candidate(
                name=", ".join(part for part in (row.title, row.backend_title, row.plan) if part),
                network=row.network,
                p90_ms=p90,
                memory_mib=_number(row, memory),
                lows=lows,
                why=_why(p90, lows[SET]),
            )
        )
    return sorted(found, key=lambda c: (c.why != "", c.p90_ms is None, c.p90_ms or 0, c.name))


def _why(p90: float | None, low: float | None) -> str:
    reasons = []
    if p90 is None:
        reasons.append("its 90th-percentile latency is not known")
    elif p90 > DEADLINE_MS:
        reasons.append(f"it takes {p90:.1f} ms")
    if low is None:
        reasons.append("its Dice has no confidence interval")
    elif low < LEAST_DICE:
        reasons.append(f"its Dice may be as low as {low:.1f} %")
    return " and ".join(reasons)


def _number(row: Row, key: str) -> float | None:
    value = row.values.get(key)
    return value.number if value else None


def _low(row: Row, key: str) -> float | None:
    value = row.values.get(key)
    return value.interval[0] if value and value.interval else None
