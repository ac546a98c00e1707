"""Which networks meet a scanner's limits, by the numbers of their rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import floor

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.titles import SETS

# An interactive sequence leaves 30 ms per slice; a HASTE stack leaves 1.4 s and more.
DEADLINES_MS = (30.0, 100.0, 300.0, 1400.0)
LEAST_DICE = 80.0
SET = "normal"


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """One row's numbers for the choice: 90th-percentile end-to-end latency, memory, lower bounds.

    `alarms` is the share (per cent) of slices without brain in which one was found. `out` says why
    a row without a result never qualifies, `p90_why` why the latency is unknown; `why` and its
    short `kinds` are empty if the row meets the default limits. `also` counts the other builds of
    the network that qualify, at its fastest row; `second` marks those.
    """

    row: Row
    name: str
    network: str
    out: str
    p90_ms: float | None
    p90_why: str
    memory_mib: float | None
    lows: dict[str, float | None]
    alarms: dict[str, float | None]
    why: str = ""
    kinds: tuple[str, ...] = ()
    also: int = 0
    second: bool = False


@dataclass(frozen=True, kw_only=True)
class Scanner:
    """The candidates under the default limits; `least_dice` is None if nothing was scored.

    `lowered` says that no network meets the usual limits, so that these are the nearest that one
    does.
    """

    deadline_ms: float
    least_dice: float | None
    lowered: bool
    candidates: tuple[Candidate, ...]

    @property
    def qualified(self) -> tuple[Candidate, ...]:
        """Those that meet the limits, fastest first."""
        return tuple(c for c in self.candidates if not c.why)

    @property
    def refused(self) -> tuple[Candidate, ...]:
        """The others."""
        return tuple(c for c in self.candidates if c.why)

    @property
    def networks(self) -> int:
        """How many networks qualify with some build."""
        return len({c.network for c in self.qualified})

    @property
    def refusals(self) -> str:
        """How often each reason refuses a build, most frequent first."""
        counts = Counter(kind for c in self.refused for kind in c.kinds)
        return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def scanner(board: Board) -> Scanner:
    """All rows under default limits that somebody meets, if anybody can.

    The usual limits are 30 ms and a Dice of 80 %. If no network meets them, the Dice asked for is
    the next lower ten that one does, at the shortest deadline at which one does.
    """
    plain = [_candidate(board, row) for row in board.rows]
    deadline, least = _limits(plain)
    asked = [_asked(candidate, deadline, least) for candidate in plain]
    asked.sort(key=lambda c: (c.why != "", c.p90_ms is None, c.p90_ms or 0, c.name))
    usual = LEAST_DICE if any(c.lows[SET] is not None for c in plain) else None
    return Scanner(
        deadline_ms=deadline,
        least_dice=least,
        lowered=(deadline, least) != (DEADLINES_MS[0], usual),
        candidates=tuple(_folded(asked)),
    )


def _candidate(board: Board, row: Row) -> Candidate:
    column = board.memory_column
    return Candidate(
        row=row,
        name=row.name,
        network=row.network,
        out=_out(row),
        p90_ms=row.number("end_to_end_p90_ms"),
        p90_why=_p90_why(row),
        memory_mib=row.number(column.key) if column else None,
        lows={name: _least_dice(row, name) for name in SETS},
        alarms={name: _alarms(row, name) for name in SETS},
    )


def _limits(candidates: Sequence[Candidate]) -> tuple[float, float | None]:
    timed = [c for c in candidates if not c.out and c.p90_ms is not None]
    scored = [c for c in timed if c.lows[SET] is not None]
    if not any(c.lows[SET] is not None for c in candidates):
        return _deadline(timed), None
    best = max((c.lows[SET] or 0 for c in scored), default=LEAST_DICE)
    least = min(LEAST_DICE, 10.0 * floor(best / 10))
    return _deadline([c for c in scored if (c.lows[SET] or 0) >= least]), least


def _deadline(candidates: Sequence[Candidate]) -> float:
    fastest = min((c.p90_ms or 0 for c in candidates), default=0.0)
    return next((ms for ms in DEADLINES_MS if fastest <= ms), DEADLINES_MS[0])


def _asked(candidate: Candidate, deadline_ms: float, least: float | None) -> Candidate:
    if candidate.out:
        return replace(candidate, why=candidate.out, kinds=("without a result",))
    reasons, kinds = [], []
    p90, low = candidate.p90_ms, candidate.lows[SET]
    if p90 is None:
        reasons.append(candidate.p90_why)
        kinds.append("of unknown latency")
    elif p90 > deadline_ms:
        reasons.append(f"it takes {p90:.1f} ms")
        kinds.append("too slow")
    if least is not None and low is None:
        reasons.append("its Dice has no confidence interval")
        kinds.append("without an interval of Dice")
    elif least is not None and low is not None and low < least:
        reasons.append(f"the interval of its mean Dice begins at {low:.1f} %")
        kinds.append("with too low or too uncertain a Dice")
    return replace(candidate, why=" and ".join(reasons), kinds=tuple(kinds))


def _folded(candidates: Sequence[Candidate]) -> list[Candidate]:
    """Of the builds of a network that qualify, the fastest counts the others."""
    counts = Counter(c.network for c in candidates if not c.why)
    seen: set[str] = set()
    found = []
    for candidate in candidates:
        if not candidate.why:
            first = candidate.network not in seen
            seen.add(candidate.network)
            also = counts[candidate.network] - 1 if first else 0
            candidate = replace(candidate, also=also, second=not first)
        found.append(candidate)
    return found


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


def _low(row: Row, key: str) -> float | None:
    value = row.values.get(key)
    return value.interval[0] if value and value.interval else None


def _least_dice(row: Row, set_name: str) -> float | None:
    """The lower end of the interval of the mean Dice, less what the plan's own masks lose."""
    low = _low(row, f"{set_name}_subject_dice")
    lost = row.number(f"plan_{set_name}_difference")
    return low if low is None or lost is None else low + min(0.0, lost)


def _alarms(row: Row, set_name: str) -> float | None:
    specificity = row.number(f"{set_name}_specificity")
    return None if specificity is None else 100 - specificity
