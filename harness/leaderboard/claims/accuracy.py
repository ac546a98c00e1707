"""The paper's claims about accuracy, by the verdicts of `harness.statistics`."""

from __future__ import annotations

from dataclasses import dataclass

from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.standings import FamilyView, Standings
from harness.leaderboard.claims.claim import (
    ENCODER,
    NINE,
    PROPOSED,
    REAL_TIME,
    RIVAL,
    Claim,
    ClaimOutcome,
    untested,
)
from harness.statistics.multiplicity import subjects_needed
from harness.statistics.paper import PAPER_ALPHA
from harness.statistics.results import Pair
from harness.statistics.verdicts import p_text


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The comparisons, and the rows of the paper's networks in the reference backend."""

    standings: Standings
    rows: list[Row]

    def view(self, set_name: str) -> FamilyView | None:
        """The family of a set in the reference backend."""
        return self.standings.of(set_name, self.standings.reference)

    def name(self, network: str) -> str:
        """What the comparisons call a network."""
        return self.standings.names.get(network, network)

    def scored(self, view: FamilyView | None, networks: tuple[str, ...]) -> list[str]:
        """Those of the networks, by key, that have scores in the family."""
        return [n for n in networks if view is not None and self.name(n) in view.names]

    def absent_text(self, needed: str) -> str:
        """Why a claim about `needed` is not tested, and what was scored instead."""
        scored = [row.title for row in self.rows if row.mean_dice is not None]
        known = ", ".join(dict.fromkeys(scored))
        if not known:
            return f"This needs scores of {needed}; nothing on this board was scored."
        return f"This needs scores of {needed} in one backend; scored were {known}."

    def sources(self, *networks: str) -> tuple[Row, ...]:
        """One row of each network."""
        found = {row.network: row for row in reversed(self.rows)}
        return tuple(found[network] for network in networks if network in found)


def _points(view: FamilyView, name: str) -> str:
    standing = view.family.standings[view.names.index(name)]
    return f"{name} {100 * standing.mean:.2f} %"


def _pair(view: FamilyView, a: str, b: str) -> Pair:
    return next(pair for pair in view.family.pairs if {pair.a, pair.b} == {a, b})


def _reach(view: FamilyView, pair: Pair) -> str:
    """Which difference an undecided comparison could have found with this many subjects."""
    if pair.detectable_difference is None:
        return ""
    return (
        f" With {view.family.subjects} subjects and {view.family.design.family_size} comparisons, "
        f"only a difference of about {100 * pair.detectable_difference:.1f} points or more is "
        "found in four of five experiments."
    )


def highest(data: Accuracy) -> Claim:
    """RFBSNet has the highest Dice of the nine on normal slices."""
    text = "RFBSNet has the highest Dice on normal slices."
    paper = "97.99 %; next U-Net, 97.93 %"
    view, name = data.view("normal"), data.name(PROPOSED)
    scored = data.scored(view, NINE)
    if view is None or PROPOSED not in scored or len(scored) < 2:
        return untested(text, paper, data.absent_text("RFBSNet and another network"))
    names = {data.name(network): network for network in scored if network != PROPOSED}
    others = [other for other in view.names if other in names]
    verdicts = {other: view.family.verdict(name, other) for other in others}
    ours = f"{_points(view, name)}; best other {_points(view, others[0])}"
    worse = [other for other, verdict in verdicts.items() if verdict == "worse"]
    open_ones = [other for other, verdict in verdicts.items() if verdict != "better"]
    outcome: ClaimOutcome = "falls" if worse else "undecided" if open_ones else "holds"
    if worse:
        why = " ".join(_pair(view, name, other).sentence for other in worse)
    elif open_ones:
        first = _pair(view, name, others[0])
        why = (
            f"The data cannot tell it apart from {', '.join(open_ones)}. {first.sentence}"
            f"{_reach(view, first)}"
        )
    else:
        why = (
            f"It is better than each of the {len(others)} others after Holm's adjustment, on "
            f"{view.family.subjects} subjects."
        )
    sources = data.sources(PROPOSED, *(names[other] for other in others))
    return Claim(text=text, paper=paper, ours=ours, outcome=outcome, why=why, sources=sources)


def beats_real_time(data: Accuracy) -> Claim:
    """RFBSNet is more accurate than each of the six real-time networks at p < 0.001."""
    text = "RFBSNet is more accurate than every real-time network (p < 0.001)."
    paper = "p < 0.001, paired t over slices"
    view, name = data.view("normal"), data.name(PROPOSED)
    if view is None or len(data.scored(view, (PROPOSED, *REAL_TIME))) <= len(REAL_TIME):
        return untested(text, paper, data.absent_text("all of the paper's real-time networks"))
    rivals = [data.name(network) for network in REAL_TIME]
    pairs = {rival: _pair(view, name, rival) for rival in rivals}
    verdicts = {rival: view.family.verdict(name, rival) for rival in rivals}
    sure = [r for r in rivals if verdicts[r] == "better" and _below(pairs[r].p_holm)]
    against = [r for r in rivals if verdicts[r] in ("worse", "equivalent")]
    by_paper = [
        rival
        for rival, pair in pairs.items()
        if pair.paper.significant and ((pair.paper.difference or 0) > 0) == (pair.a == name)
    ]
    outcome: ClaimOutcome = "holds" if len(sure) == len(rivals) else "undecided"
    if against:
        outcome = "falls"
    ours = (
        f"p < {PAPER_ALPHA:g} against {len(sure)} of {len(rivals)} over subjects with Holm's "
        f"adjustment; against {len(by_paper)} of {len(rivals)} by the paper's own test"
    )
    why = _exceptions(view, name, pairs, [r for r in rivals if r not in sure])
    why += (
        " The paper's test treats the slices of a stack as independent, which makes its p too "
        "small; ours takes the subject as the unit."
    )
    sources = data.sources(PROPOSED, *REAL_TIME)
    return Claim(
        text=text, paper=paper, ours=ours, outcome=outcome, why=why.strip(), sources=sources
    )


def _below(p: float | None) -> bool:
    return p is not None and p < PAPER_ALPHA


def _exceptions(view: FamilyView, name: str, pairs: dict[str, Pair], rivals: list[str]) -> str:
    """Why some of the rivals are not beaten at the paper's threshold."""
    design = view.family.design
    parts = []
    for rival in rivals:
        p = pairs[rival].p_holm
        shown = f" ({p_text(p)})" if p is not None else ""
        parts.append(f"{view.family.verdict(name, rival)} against {rival}{shown}")
    text = f"The exceptions, after Holm's adjustment: {', '.join(parts)}." if parts else ""
    needed = subjects_needed(design.family_size, PAPER_ALPHA)
    if parts and needed > design.subjects:
        text += (
            f" With {design.subjects} subjects and {design.family_size} comparisons, no difference "
            f"can reach {PAPER_ALPHA:g} in the exact test; {needed} subjects would suffice."
        )
    return text


def _two(
    data: Accuracy,
    set_name: str,
    networks: tuple[str, str],
    text: str,
    paper: str,
    outcomes: dict[str, ClaimOutcome],
) -> Claim:
    """A claim about two networks; `outcomes` by the verdict on the first against the second."""
    view = data.view(set_name)
    if view is None or len(data.scored(view, networks)) < 2:
        titles = " and ".join(sorted(data.name(network) for network in networks))
        return untested(text, paper, data.absent_text(titles))
    a, b = (data.name(network) for network in networks)
    verdict = view.family.verdict(a, b)
    pair = _pair(view, a, b)
    outcome = outcomes.get(verdict, "undecided")
    return Claim(
        text=text,
        paper=paper,
        ours=f"{_points(view, a)} and {_points(view, b)}: {verdict}",
        outcome=outcome,
        why=pair.sentence + (_reach(view, pair) if outcome == "undecided" else ""),
        sources=data.sources(*networks),
    )


def like_unet(data: Accuracy) -> Claim:
    """RFBSNet does not differ from U-Net; only equivalence shows that, never a large p."""
    return _two(
        data,
        "normal",
        (PROPOSED, RIVAL),
        "RFBSNet does not differ from U-Net in accuracy.",
        "97.99 % and 97.93 %; the test did not reject",
        {"equivalent": "holds", "better": "falls", "worse": "falls"},
    )


def behind_segnet(data: Accuracy) -> Claim:
    """SegNet is ahead on challenging slices: here the paper's text contradicts its table."""
    return _two(
        data,
        "challenging",
        (ENCODER, PROPOSED),
        "On challenging slices, SegNet is ahead of RFBSNet, as in the paper's own Table 1.",
        "88.95 % against 84.04 %; the text gives RFBSNet 86.04 %",
        {"better": "holds", "worse": "falls", "equivalent": "falls"},
    )
