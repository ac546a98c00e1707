"""The paper's claims about latency and memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.columns import WEIGHTS_MIB, Column
from harness.leaderboard.board.races import samples
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.timings import Quantity
from harness.leaderboard.board.titles import QUANTITY_TITLES
from harness.leaderboard.claims.claim import HEAVY, PROPOSED, Claim, ClaimOutcome, untested
from harness.statistics.latency import latency_ratio
from harness.statistics.ranks import kendall_tau

REAL_TIME_MS = 5.0
# Without an interval, a ratio of medians beyond this still counts: processes on one machine differ
# by a few per cent (docs/measuring.md), not by a fifth.
CLEAR_RATIO = 1.2
# Two orders of speed are called the same, or the reverse, if |τ| (Kendall) reaches this.
CLEAR_TAU = 0.5


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The rows of the paper's networks in the reference backend and one plan."""

    board: Board
    rows: list[Row]

    @property
    def quantity(self) -> Quantity:
        """What the paper timed, the network alone; end to end if only that was measured."""
        alone = any(row.number("forward_p50_ms") is not None for row in self.rows)
        return "forward" if alone else "end_to_end"

    @property
    def timed_text(self) -> str:
        """What was timed, for a claim that needs more."""
        key = f"{self.quantity}_p50_ms"
        known = sum(row.number(key) is not None for row in self.rows)
        batches = sorted({b for row in self.rows for b in row.latencies(self.quantity)})
        if not known:
            return "none of the paper's networks was timed"
        noun = "network was" if known == 1 else "networks were"
        sizes = ", ".join(map(str, batches))
        return f"{known} {noun} timed, at batch size {sizes} ({self.where})"

    @property
    def where(self) -> str:
        """The conditions of a latency, for a reader who compares them with the paper's."""
        row = self.rows[0]
        plan = f"{row.backend_title}, plan {row.plan}, {row.precision}"
        return f"{QUANTITY_TITLES[self.quantity]}, {plan}, on {self.board.machine_title}"


def fastest(data: Speed) -> Claim:
    """RFBSNet is the fastest of the nine at batch size 1."""
    text = "RFBSNet is the fastest network at batch size 1."
    paper = "3.36 ms; next Fast-SCNN, 5.74 ms"
    key = f"{data.quantity}_p50_ms"
    known = sorted(
        ((ms, row) for row in data.rows if (ms := row.number(key)) is not None),
        key=lambda pair: (pair[0], pair[1].id),
    )
    own = next((pair for pair in known if pair[1].network == PROPOSED), None)
    rival = next((pair for pair in known if pair[1].network != PROPOSED), None)
    if own is None or rival is None:
        return untested(
            text,
            paper,
            f"This needs RFBSNet and another network timed in the same plan; {data.timed_text}.",
        )
    outcome, why = _race(own, rival, data.quantity)
    return Claim(
        text=text,
        paper=paper,
        ours=f"{own[0]:.2f} ms; fastest other {rival[1].title}, {rival[0]:.2f} ms ({data.where})",
        outcome=outcome,
        why=f"{why}{_operations(data.board, own[1], rival[1], own[0] < rival[0])}",
        sources=(own[1], rival[1]),
    )


def _race(
    own: tuple[float, Row], rival: tuple[float, Row], quantity: Quantity
) -> tuple[ClaimOutcome, str]:
    """The outcome by the interval of the ratio; without one, only a clear gap decides."""
    tables = [samples(row, quantity) for _, row in (own, rival)]
    ratio = own[0] / rival[0]
    if tables[0] is not None and tables[1] is not None:
        found = latency_ratio(tables[0], tables[1], names=(own[1].title, rival[1].title))
        decided: dict[str, ClaimOutcome] = {"faster": "holds", "slower": "falls"}
        if found.verdict != "undefined":
            return decided.get(found.verdict, "undecided"), found.sentence
        why = found.sentence
    else:
        why = "Without raw samples there is no interval."
    if ratio > CLEAR_RATIO:
        return "falls", f"{why} A gap this wide does not need one."
    return "undecided", f"{why} Several processes could decide it."


def _operations(board: Board, own: Row, rival: Row, ahead: bool) -> str:
    """The operations beside the times, which they explain in part."""
    ours, theirs = own.number("gflops"), rival.number("gflops")
    if not ours or not theirs:
        return ""
    text = f" {own.title} needs {ours:.2f} GFLOPs, {rival.title} {theirs:.2f}"
    if not ahead and ours > theirs and board.machine.gpu is None:
        return text + (
            ": without a GPU the time follows the operations, whereas a GPU at batch 1 mostly "
            "waits for its next kernel, which favours a network with few layers."
        )
    return text + "."


def reversal(data: Speed) -> Claim:
    """The order of speed at batch 1 is the reverse of that at the largest batch that all ran."""
    text = "The order of speed reverses as the batch shrinks."
    paper = "Fig. 4: light networks lead at batch 32, RFBSNet, U-Net and SegNet at batch 1"
    rows = [row for row in data.rows if row.seeds]
    medians = [_medians(row, data.quantity) for row in rows]
    shared = sorted(set.intersection(*(set(found) for found in medians))) if medians else []
    if len(rows) < 3 or len(shared) < 2 or shared[0] != 1:
        needed = "This needs three networks timed at batch size 1 and at a larger one"
        why = f"{needed}; {data.timed_text}."
        return untested(text, paper, why)
    last = shared[-1]
    small, large = (np.array([found[batch] for found in medians]) for batch in (1, last))
    tau = float(kendall_tau(small, large))
    outcome: ClaimOutcome = "undecided"
    if abs(tau) >= CLEAR_TAU:
        outcome = "falls" if tau > 0 else "holds"
    orders = f"at batch 1 {_order(rows, small)}; at batch {last} {_order(rows, large)}"
    why = f"From the fastest: {orders}. τ is 1 for the same order, −1 for the reverse."
    if data.board.machine.gpu is None:
        why += (
            " The paper's reversal comes from a GPU, which a small batch leaves idle; a CPU is "
            "busy at batch 1 already."
        )
    return Claim(
        text=text,
        paper=paper,
        ours=f"Kendall's τ between the orders at batch 1 and {last}: {tau:.2f} ({data.where})",
        outcome=outcome,
        why=why,
        sources=tuple(rows),
    )


def _order(rows: list[Row], latency_ms: np.ndarray) -> str:
    """Titles of the rows, fastest first; `latency_ms` has one value per row."""
    return ", ".join(rows[place].title for place in np.argsort(latency_ms, kind="stable"))


def _medians(row: Row, quantity: Quantity) -> dict[int, float]:
    found = row.latencies(quantity)
    return {b: e.median_ms for b, e in found.items() if e.status == "ok" and e.median_ms}


def memory(data: Speed) -> Claim:
    """U-Net and SegNet are the two of the nine that need the most memory."""
    text = "U-Net and SegNet need much memory."
    paper = "out of memory at the largest batches"
    column = _memory_column(data)
    known = [
        (mib, row) for row in data.rows if column and (mib := row.number(column.key)) is not None
    ]
    known.sort(key=lambda pair: (-pair[0], pair[1].id))
    if column is None or not set(HEAVY) <= {row.network for _, row in known}:
        return untested(
            text,
            paper,
            "The peak memory of U-Net and SegNet was not measured; weights are a part of it.",
        )
    if len(known) <= len(HEAVY):
        return untested(text, paper, "The memory of no other network was measured.")
    first, (next_mib, next_row) = known[: len(HEAVY)], known[len(HEAVY)]
    intruders = [(mib, row) for mib, row in first if row.network not in HEAVY]
    least = min(mib for mib, row in known if row.network in HEAVY)
    if intruders:
        more = " and ".join(f"{row.title} with {mib:.0f} MiB" for mib, row in intruders)
        why = f"{more} is above the smaller of the two, {least:.0f} MiB."
    else:
        why = (
            f"the smaller of the two needs {least / next_mib:.1f} times the memory of the next, "
            f"{next_row.title}."
        )
    return Claim(
        text=text,
        paper=paper,
        ours="; ".join(f"{row.title} {mib:.0f} MiB" for mib, row in known[:4]),
        outcome="falls" if intruders else "holds",
        why=f"{column.title}: {why}",
        sources=tuple(row for _, row in known[:4]),
    )


def _memory_column(data: Speed) -> Column | None:
    """The memory quantity that most rows have, leaving out weights: a run needs more than those."""
    peaks = [c for c in data.board.columns if c.key.endswith("_mib") and c.key != WEIGHTS_MIB]
    return max(
        peaks, key=lambda c: sum(row.number(c.key) is not None for row in data.rows), default=None
    )


def real_time(data: Speed) -> Claim:
    """RFBSNet answers within 5 ms from image to mask, in nine of ten slices."""
    text = "RFBSNet answers within 5 ms, hence in real time."
    paper = "3.36 ± 0.02 ms, network alone"
    row = next((row for row in data.rows if row.network == PROPOSED), None)
    p90 = row.number("end_to_end_p90_ms") if row else None
    median = row.number("end_to_end_p50_ms") if row else None
    if row is None or p90 is None or median is None:
        return untested(text, paper, f"Its end-to-end latency was not measured; {data.timed_text}.")
    # p90 is an upper bound: if it is above the limit and the median below, the question stays open.
    outcome: ClaimOutcome = "holds" if p90 <= REAL_TIME_MS else "undecided"
    if median > REAL_TIME_MS:
        outcome = "falls"
    alone = row.number("forward_p50_ms")
    if alone is not None:
        why = (
            f"Of the median {median:.2f} ms, the network alone takes {alone:.2f} ms; the rest "
            "moves the image there and the mask back."
        )
    else:
        why = f"The median is {median:.2f} ms; the network alone was not timed."
    why += " The paper timed the network alone, on its GPU."
    return Claim(
        text=text,
        paper=paper,
        ours=f"{p90:.2f} ms end to end, 90th percentile ({row.backend_title}, plan {row.plan}, on "
        f"{data.board.machine_title})",
        outcome=outcome,
        why=why,
        sources=(row,),
    )
