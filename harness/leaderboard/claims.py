"""The paper's claims as sentences, each tested on this data and this machine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from harness.leaderboard.boards import Board
from harness.leaderboard.figures import QUANTITY_TITLES
from harness.leaderboard.rows import Row, published, timed
from harness.leaderboard.standings import FamilyView, Standings
from harness.statistics.latency import latency_ratio
from harness.statistics.ranks import kendall_tau

Outcome = Literal["holds", "falls", "undecided", "not tested"]
Quantity = Literal["forward", "end_to_end"]

SUBJECT, RIVAL, ENCODER = "rfbsnet", "unet", "segnet"
HEAVY = (RIVAL, ENCODER)
REAL_TIME_MS = 5.0
# Kendall's tau between two orders of speed at or below which one is called the reverse.
REVERSED_TAU = -0.5
WEIGHTS_MIB = "parameters_mib"


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A sentence of the paper, its figure, ours, the outcome and why."""

    text: str
    paper: str
    ours: str
    outcome: Outcome
    why: str


def claims(board: Board, standings: Standings) -> list[Claim]:
    """All claims; empty where the board has no finished cell of the paper's own network."""
    if not any(row.network == SUBJECT and row.status == "ok" for row in board.rows):
        return []
    view = standings.of("normal", standings.reference)
    hard = standings.of("challenging", standings.reference)
    rows = [row for row in board.rows if row.backend == standings.reference and row.plan]
    plan = next(((r.plan, r.precision) for r in rows if r.network == SUBJECT), None)
    rows = [row for row in rows if (row.plan, row.precision) == plan]
    return [
        _fastest(rows),
        _highest(view, standings),
        _beats_real_time(view, standings),
        _like_unet(view, standings),
        _behind_segnet(hard, standings),
        _reversal(rows),
        _memory(board, rows),
        _real_time(rows),
    ]


def _untested(text: str, paper: str, why: str) -> Claim:
    return Claim(text=text, paper=paper, ours="", outcome="not tested", why=why)


def _ms(row: Row, key: str) -> float | None:
    value = row.values.get(key)
    return value.number if value else None


def _fastest(rows: list[Row]) -> Claim:
    text = "RFBSNet is the fastest network at batch size 1."
    paper = "3.36 ms; next Fast-SCNN, 5.74 ms"
    quantity = _quantity(rows)
    known = [(ms, row) for row in rows if (ms := _ms(row, f"{quantity}_p50_ms")) is not None]
    rivals = [(ms, row) for ms, row in known if row.network != SUBJECT]
    own = [(ms, row) for ms, row in known if row.network == SUBJECT]
    if not rivals or not own:
        return _untested(text, paper, "It takes two networks timed in the same plan.")
    (own_ms, own_row), (ms, rival) = own[0], min(rivals, key=lambda pair: (pair[0], pair[1].id))
    ours = (
        f"{own_ms:.2f} ms; fastest other {rival.title}, {ms:.2f} ms ({rival.backend_title}, "
        f"{QUANTITY_TITLES[quantity]})"
    )
    samples = [_samples(row, quantity) for row in (own_row, rival)]
    ratio = latency_ratio(samples[0], samples[1], names=(own_row.title, rival.title))
    decided: dict[str, Outcome] = {"faster": "holds", "slower": "falls"}
    if ratio.verdict in decided:
        return Claim(text=text, paper=paper, ours=ours, outcome=decided[ratio.verdict],
                     why=ratio.sentence)  # fmt: skip
    outcome = "falls" if own_ms > 1.2 * ms else "undecided"
    why = f"{ratio.sentence} A figure of speed holds for its machine and framework only."
    return Claim(text=text, paper=paper, ours=ours, outcome=outcome, why=why)


def _quantity(rows: list[Row]) -> Quantity:
    """What the paper timed, the network alone; the whole way where only that was measured."""
    alone = any(_ms(row, "forward_p50_ms") is not None for row in rows)
    return "forward" if alone else "end_to_end"


def _samples(row: Row, quantity: Quantity):
    assert row.cell is not None
    samples = row.cell.finished[0].latency_samples()
    return samples[
        (samples["plan"] == row.plan)
        & (samples["precision"] == row.precision)
        & (samples["quantity"] == quantity)
        & (samples["batch"] == 1)
    ]


def _name(standings: Standings, network: str) -> str:
    return standings.names.get(network, network)


def _has(view: FamilyView | None, standings: Standings, *networks: str) -> bool:
    return view is not None and all(_name(standings, n) in view.names for n in networks)


def _points(view: FamilyView, name: str) -> str:
    standing = view.family.standings[view.names.index(name)]
    return f"{name} {100 * standing.mean:.2f} %"


def _sentence(view: FamilyView, a: str, b: str) -> str:
    return next(p.sentence for p in view.family.pairs if {p.a, p.b} == {a, b})


def _highest(view: FamilyView | None, standings: Standings) -> Claim:
    text = "RFBSNet has the highest Dice on normal slices."
    paper = "97.99 %; next U-Net, 97.93 %"
    name = _name(standings, SUBJECT)
    if view is None or name not in view.names or len(view.names) < 2:
        return _untested(text, paper, "No other network was scored in the same backend.")
    others = [other for other in view.names if other != name]
    verdicts = {other: view.family.verdict(name, other) for other in others}
    ours = f"{_points(view, name)}; best other {_points(view, others[0])}"
    worse = [other for other, verdict in verdicts.items() if verdict == "worse"]
    if worse:
        why = " ".join(_sentence(view, name, other) for other in worse)
        return Claim(text=text, paper=paper, ours=ours, outcome="falls", why=why)
    open_ones = [other for other, verdict in verdicts.items() if verdict != "better"]
    if not open_ones:
        why = f"Better than each of the {len(others)} others after Holm's adjustment."
        return Claim(text=text, paper=paper, ours=ours, outcome="holds", why=why)
    why = f"Not told apart from {', '.join(open_ones)}. {_sentence(view, name, others[0])}"
    return Claim(text=text, paper=paper, ours=ours, outcome="undecided", why=why)


def _beats_real_time(view: FamilyView | None, standings: Standings) -> Claim:
    text = "RFBSNet is more accurate than every real-time network (p < 0.001)."
    paper = "p < 0.001, paired t over slices"
    name = _name(standings, SUBJECT)
    rivals = [
        standings.names[network]
        for network in standings.names
        if network not in (SUBJECT, *HEAVY) and published(network) is not None
    ]
    if view is None or not rivals or not {name, *rivals} <= set(view.names):
        return _untested(text, paper, "Not all of the paper's networks were scored.")
    pairs = {p.b if p.a == name else p.a: p for p in view.family.pairs if name in (p.a, p.b)}
    by_paper = [
        other
        for other in rivals
        if pairs[other].paper.significant
        and ((pairs[other].paper.difference or 0) > 0) == (pairs[other].a == name)
    ]
    verdicts = [view.family.verdict(name, other) for other in rivals]
    better = verdicts.count("better")
    ours = (
        f"by subjects and Holm, better than {better} of {len(rivals)}; by the paper's own test, "
        f"than {len(by_paper)} of {len(rivals)}"
    )
    outcome: Outcome = "holds" if better == len(rivals) else "undecided"
    if "worse" in verdicts:
        outcome = "falls"
    why = (
        "The paper's test treats the slices of a stack as independent, which makes its p too "
        "small; ours takes the subject as the unit."
    )
    if view.family.design.sentence:
        why += f" This data set {view.family.design.sentence}."
    return Claim(text=text, paper=paper, ours=ours, outcome=outcome, why=why)


def _like_unet(view: FamilyView | None, standings: Standings) -> Claim:
    text = "RFBSNet does not differ from U-Net in accuracy."
    paper = "97.99 % and 97.93 %; the test did not reject"
    if view is None or not _has(view, standings, SUBJECT, RIVAL):
        return _untested(text, paper, "RFBSNet and U-Net were not both scored.")
    name, rival = _name(standings, SUBJECT), _name(standings, RIVAL)
    verdict = view.family.verdict(name, rival)
    outcomes: dict[str, Outcome] = {"equivalent": "holds", "better": "falls", "worse": "falls"}
    return Claim(
        text=text,
        paper=paper,
        ours=f"{_points(view, name)} and {_points(view, rival)}: {verdict}",
        outcome=outcomes.get(verdict, "undecided"),
        why=_sentence(view, name, rival),
    )


def _behind_segnet(view: FamilyView | None, standings: Standings) -> Claim:
    text = "On challenging slices SegNet is ahead of RFBSNet, as the paper's own Table 1 has it."
    paper = "88.95 % against 84.04 %; the text gives RFBSNet 86.04 %"
    if view is None or not _has(view, standings, SUBJECT, ENCODER):
        return _untested(text, paper, "RFBSNet and SegNet were not both scored.")
    name, rival = _name(standings, ENCODER), _name(standings, SUBJECT)
    outcomes: dict[str, Outcome] = {"better": "holds", "worse": "falls", "equivalent": "falls"}
    verdict = view.family.verdict(name, rival)
    return Claim(
        text=text,
        paper=paper,
        ours=f"{_points(view, name)} against {_points(view, rival)}",
        outcome=outcomes.get(verdict, "undecided"),
        why=_sentence(view, name, rival),
    )


def _reversal(rows: list[Row]) -> Claim:
    text = "The order of speed reverses as the batch shrinks."
    paper = "Fig. 4: light networks lead at batch 32, RFBSNet, U-Net and SegNet at batch 1"
    quantity = _quantity(rows)
    entries = [timed(row.cell, row.plan, row.precision, quantity) for row in rows if row.cell]
    batches = [
        {batch for batch, e in found.items() if e.status == "ok" and e.median_ms}
        for found in entries
    ]
    shared = sorted(set.intersection(*batches)) if batches else []
    if len(entries) < 3 or len(shared) < 2 or shared[0] != 1:
        why = "It takes three networks timed at batch size 1 and at a larger one."
        return _untested(text, paper, why)
    last = shared[-1]
    times = [[found[b].median_ms or 0 for found in entries] for b in (1, last)]
    tau = float(kendall_tau(np.array(times[0]), np.array(times[1])))
    outcome: Outcome = "falls" if tau > 0 else "undecided"
    if tau <= REVERSED_TAU:
        outcome = "holds"
    return Claim(
        text=text,
        paper=paper,
        ours=f"Kendall's τ between the orders at batch 1 and {last}: {tau:.2f}",
        outcome=outcome,
        why="1 is the same order, −1 the reverse. A GPU is idle at batch 1 in a way that a CPU "
        "is not, so this claim belongs to GPUs.",
    )


def _memory(board: Board, rows: list[Row]) -> Claim:
    text = "U-Net and SegNet need much memory."
    paper = "out of memory at the largest batches"
    # The size of the weights is no measure of what a network needs to run.
    peaks = (c for c in board.columns if c.key.endswith("_mib") and c.key != WEIGHTS_MIB)
    column = next((c for c in peaks if c.shown), None)
    found = [(_ms(row, column.key), row) for row in rows] if column else []
    known = sorted(
        ((mib, row.network, row.title) for mib, row in found if mib is not None), reverse=True
    )
    if column is None or not set(HEAVY) <= {network for _, network, _ in known}:
        return _untested(text, paper, "The memory of U-Net and SegNet was not measured.")
    if len(known) <= len(HEAVY):
        return _untested(text, paper, "No other network's memory was measured.")
    top = {network for _, network, _ in known[: len(HEAVY)]}
    return Claim(
        text=text,
        paper=paper,
        ours="; ".join(f"{title} {mib:.0f} MiB" for mib, _, title in known[:4]),
        outcome="holds" if top == set(HEAVY) else "falls",
        why=f"{column.title}: the two that need most are "
        f"{' and '.join(title for _, _, title in known[:2])}.",
    )


def _real_time(rows: list[Row]) -> Claim:
    text = "RFBSNet answers within 5 ms, hence in real time."
    paper = "3.36 ± 0.02 ms, network alone"
    row = next((row for row in rows if row.network == SUBJECT), None)
    p90 = _ms(row, "end_to_end_p90_ms") if row else None
    if row is None or p90 is None:
        return _untested(text, paper, "Its end-to-end latency was not measured.")
    return Claim(
        text=text,
        paper=paper,
        ours=f"{p90:.2f} ms end to end (90th percentile, {row.backend_title})",
        outcome="holds" if p90 <= REAL_TIME_MS else "falls",
        why="Real time is said of the way from the image to the mask, nine times in ten, on this "
        "machine; the paper timed the network alone on its GPU.",
    )
