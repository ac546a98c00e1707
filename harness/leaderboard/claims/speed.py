"""The paper's claims about latency and memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.speed import samples
from harness.leaderboard.board.timings import timed
from harness.leaderboard.claims.claim import HEAVY, SUBJECT, Claim, Outcome, untested
from harness.leaderboard.figures.latency_dice import QUANTITY_TITLES
from harness.statistics.latency import latency_ratio
from harness.statistics.ranks import kendall_tau

REAL_TIME_MS = 5.0
# Without an interval a ratio of medians beyond this still counts: processes on one machine differ
# by a few per cent (docs/measuring.md), not by a fifth.
CLEAR_RATIO = 1.2
# Kendall's τ between two orders of speed beyond which they are called the same, or the reverse.
CLEAR_TAU = 0.5
WEIGHTS_MIB = "parameters_mib"


@dataclass(frozen=True, kw_only=True)
class Speed:
    """The rows of the paper's networks in the reference backend and one plan."""

    board: Board
    rows: list[Row]

    @property
    def quantity(self) -> Literal["forward", "end_to_end"]:
        """What the paper timed, the network alone; the whole way where only that was measured."""
        alone = any(row.number("forward_p50_ms") is not None for row in self.rows)
        return "forward" if alone else "end_to_end"

    @property
    def where(self) -> str:
        """The conditions of a latency, for a reader who wonders whether they are the paper's."""
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
    own = next((pair for pair in known if pair[1].network == SUBJECT), None)
    rival = next((pair for pair in known if pair[1].network != SUBJECT), None)
    if own is None or rival is None:
        return untested(text, paper, "It takes two networks timed in the same plan.")
    outcome, why = _race(own, rival, data.quantity)
    return Claim(
        text=text,
        paper=paper,
        ours=f"{own[0]:.2f} ms; fastest other {rival[1].title}, {rival[0]:.2f} ms ({data.where})",
        outcome=outcome,
        why=f"{why}{_operations(data.board, own[1], rival[1], own[0] < rival[0])}",
        sources=(own[1], rival[1]),
    )


def _race(own: tuple[float, Row], rival: tuple[float, Row], quantity: str) -> tuple[Outcome, str]:
    """The outcome by the interval of the ratio; without one only a clear gap decides."""
    tables = [samples(row, quantity) for _, row in (own, rival)]
    ratio = own[0] / rival[0]
    if tables[0] is not None and tables[1] is not None:
        found = latency_ratio(tables[0], tables[1], names=(own[1].title, rival[1].title))
        decided: dict[str, Outcome] = {"faster": "holds", "slower": "falls"}
        if found.verdict != "undefined":
            return decided.get(found.verdict, "undecided"), found.sentence
        why = found.sentence
    else:
        why = "The raw samples are not there, so there is no interval."
    if ratio > CLEAR_RATIO:
        return "falls", f"{why} A gap this wide needs none."
    return "undecided", f"{why} Several processes would decide it."


def _operations(board: Board, own: Row, rival: Row, ahead: bool) -> str:
    """The operations beside the times: what a machine does with them is the reason for both."""
    ours, theirs = own.number("gflops"), rival.number("gflops")
    if not ours or not theirs:
        return ""
    text = f" {own.title} takes {ours:.2f} GFLOPs, {rival.title} {theirs:.2f}"
    if not ahead and ours > theirs and board.machine.gpu is None:
        return text + (
            ": without a GPU the time follows the operations, while a GPU at batch 1 mostly waits "
            "for its next kernel and favours the network with few layers."
        )
    return text + "."


def reversal(data: Speed) -> Claim:
    """The order of speed at batch 1 against that at the largest batch that all of them ran."""
    text = "The order of speed reverses as the batch shrinks."
    paper = "Fig. 4: light networks lead at batch 32, RFBSNet, U-Net and SegNet at batch 1"
    rows = [row for row in data.rows if row.cell]
    medians = [_medians(row, data.quantity) for row in rows]
    shared = sorted(set.intersection(*(set(found) for found in medians))) if medians else []
    if len(rows) < 3 or len(shared) < 2 or shared[0] != 1:
        why = "It takes three networks timed at batch size 1 and at a larger one."
        return untested(text, paper, why)
    last = shared[-1]
    first_ms, last_ms = (np.array([found[b] for found in medians]) for b in (1, last))
    tau = float(kendall_tau(first_ms, last_ms))
    outcome: Outcome = "undecided"
    if abs(tau) >= CLEAR_TAU:
        outcome = "falls" if tau > 0 else "holds"
    orders = []
    for batch, ms in ((1, first_ms), (last, last_ms)):
        titles = [rows[place].title for place in np.argsort(ms, kind="stable")]
        orders.append(f"at batch {batch} {', '.join(titles)}")
    why = f"From the fastest: {'; '.join(orders)}. τ is 1 for the same order, −1 for the reverse."
    if data.board.machine.gpu is None:
        why += (
            " The paper's reversal comes from a GPU, which a small batch leaves idle; a processor "
            "is busy at batch 1 already."
        )
    return Claim(
        text=text,
        paper=paper,
        ours=f"Kendall's τ between the orders at batch 1 and {last}: {tau:.2f} ({data.where})",
        outcome=outcome,
        why=why,
        sources=tuple(rows),
    )


def _medians(row: Row, quantity: str) -> dict[int, float]:
    assert row.cell is not None
    entries = timed(row.cell, row.plan, row.precision, quantity)
    return {b: e.median_ms for b, e in entries.items() if e.status == "ok" and e.median_ms}


def memory(data: Speed) -> Claim:
    """U-Net and SegNet are the two of the nine that need the most memory."""
    text = "U-Net and SegNet need much memory."
    paper = "out of memory at the largest batches"
    # The size of the weights is no measure of what a network needs to run.
    peaks = [c for c in data.board.columns if c.key.endswith("_mib") and c.key != WEIGHTS_MIB]
    column = max(
        peaks, key=lambda c: sum(row.number(c.key) is not None for row in data.rows), default=None
    )
    known = [
        (mib, row) for row in data.rows if column and (mib := row.number(column.key)) is not None
    ]
    known.sort(key=lambda pair: (-pair[0], pair[1].id))
    if column is None or not set(HEAVY) <= {row.network for _, row in known}:
        return untested(text, paper, "The memory of U-Net and SegNet was not measured.")
    if len(known) <= len(HEAVY):
        return untested(text, paper, "No other network's memory was measured.")
    intruders = [(mib, row) for mib, row in known[: len(HEAVY)] if row.network not in HEAVY]
    if intruders:
        least = min(mib for mib, row in known if row.network in HEAVY)
        more = " and ".join(f"{row.title} with {mib:.0f} MiB" for mib, row in intruders)
        why = f"{column.title}: {more} is above the lesser of the two, {least:.0f} MiB."
    else:
        next_mib, next_row = known[len(HEAVY)]
        least = known[len(HEAVY) - 1][0]
        why = (
            f"{column.title}: the lesser of the two takes {least / next_mib:.1f} times the memory "
            f"of the next, {next_row.title}."
        )
    return Claim(
        text=text,
        paper=paper,
        ours="; ".join(f"{row.title} {mib:.0f} MiB" for mib, row in known[:4]),
        outcome="falls" if intruders else "holds",
        why=why,
        sources=tuple(row for _, row in known[:4]),
    )


def real_time(data: Speed) -> Claim:
    """RFBSNet answers within 5 ms from image to mask, nine times in ten."""
    text = "RFBSNet answers within 5 ms, hence in real time."
    paper = "3.36 ± 0.02 ms, network alone"
    row = next((row for row in data.rows if row.network == SUBJECT), None)
    p90 = row.number("end_to_end_p90_ms") if row else None
    median = row.number("end_to_end_p50_ms") if row else None
    if row is None or p90 is None or median is None:
        return untested(text, paper, "Its end-to-end latency was not measured.")
    # p90 is an upper bound: above the limit it leaves open what the median below it does not.
    outcome: Outcome = "holds" if p90 <= REAL_TIME_MS else "undecided"
    if median > REAL_TIME_MS:
        outcome = "falls"
    alone = row.number("forward_p50_ms")
    if alone is not None:
        why = (
            f"Of the median {median:.2f} ms the network alone takes {alone:.2f} ms; the rest is "
            "the way of the image there and of the mask back."
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
