"""When a claim of the paper holds, when it falls, and when neither can be said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.standings import FamilyView, Standings
from harness.leaderboard.claims.accuracy import Accuracy, beats_real_time, highest, like_unet
from harness.leaderboard.claims.catalogue import claims
from harness.leaderboard.claims.claim import NINE, REAL_TIME, Claim
from harness.statistics.comparison import compare
from tests.report import factory
from tests.report.factory import Cell
from tests.report.reading import board_of

FASTEST = "RFBSNet is the fastest network at batch size 1."


def accuracy(
    means: dict[str, float], *, noise: float = 0.01, subjects: int = 24, alpha: float = 0.05
) -> Accuracy:
    """Comparisons of made-up networks, each subject with one slice."""
    rng = np.random.default_rng(0)
    table = pd.concat(
        pd.DataFrame(
            {
                "network": network,
                "backend": "torch",
                "seed": 0,
                "set": "normal",
                "subject": [f"s{i:02d}" for i in range(subjects)],
                "stack": "run-1",
                "slice": 0,
                "dice": mean + rng.normal(0, noise, subjects),
                "brain_pixels": 100,
                "predicted_pixels": 100,
            }
        ).assign(stack=lambda t: t["subject"] + "_run-1")
        for network, mean in means.items()
    )
    (family,) = compare(table, alpha=alpha).families
    view = FamilyView(backend="torch", backend_title="PyTorch", set_name="normal", family=family)
    return Accuracy(standings=Standings(families=(view,)), rows=[])


def all_at(others: float, own: float = 0.95) -> dict[str, float]:
    return {network: own if network == "rfbsnet" else others for network in NINE}


def test_the_papers_p_must_be_reached_against_each() -> None:
    assert beats_real_time(accuracy(all_at(0.8))).outcome == "holds"
    close = all_at(0.5, own=0.75) | {"enet": 0.69}
    made = accuracy(close, noise=0.06)
    found = beats_real_time(made)
    pair = made.standings.families[0].family
    p = next(q.p_holm for q in pair.pairs if {q.a, q.b} == {"rfbsnet", "enet"})
    assert p is not None
    assert 0.001 < p < 0.05, "better, but not by the claim's own threshold"
    assert found.outcome == "undecided"
    assert "better against enet (p = 0.0" in found.why


def test_an_equivalent_rival_makes_the_claim_fall() -> None:
    found = beats_real_time(accuracy(all_at(0.8) | {"enet": 0.95}, noise=0.002, subjects=59))
    assert found.outcome == "falls"
    assert "equivalent against enet" in found.why


def test_too_few_subjects_are_the_reason() -> None:
    found = beats_real_time(accuracy(all_at(0.6), subjects=12))
    assert found.outcome == "undecided", "however large the difference"
    assert "17 subjects would suffice" in found.why


def test_undecided_says_what_could_have_been_seen() -> None:
    found = like_unet(accuracy(all_at(0.8) | {"unet": 0.948}, noise=0.02))
    assert found.outcome == "undecided"
    assert "24 subjects" in found.why
    assert "points or more is found in four of five experiments" in found.why


def test_a_plugin_network_says_nothing_about_the_paper() -> None:
    plain = highest(accuracy(all_at(0.8)))
    joined = highest(accuracy(all_at(0.8) | {"mine": 0.96}))
    assert (plain.outcome, joined.outcome) == ("holds", "holds")
    assert "mine" not in joined.ours + joined.why
    assert len(REAL_TIME) == 6


def by_text(results: Path) -> dict[str, Claim]:
    return {claim.text: claim for claim in claims(*board_of(results))}


def race(results: Path, **options: Any) -> Claim:
    own = Cell(network="rfbsnet", **options)
    cells = [own, Cell(network="unet", **{**options, "forward_ms": 9.0})]
    plugin = Cell(network="mine", title="Mine", forward_ms=0.1)
    return by_text(factory.write_results(results, [*cells, plugin]))[FASTEST]


@pytest.mark.parametrize(
    ("options", "outcome"),
    [
        ({"forward_ms": 12.0, "processes": 4}, "falls"),
        ({"forward_ms": 6.0, "processes": 4}, "holds"),
        ({"forward_ms": 12.0, "processes": 4, "process_spread": 0.5}, "undecided"),
        ({"forward_ms": 8.9}, "undecided"),
        ({"forward_ms": 12.0}, "falls"),
    ],
)
def test_the_race_is_decided_by_its_interval(tmp_path: Path, options: dict, outcome: str) -> None:
    found = race(tmp_path / "results", **options)
    assert found.outcome == outcome
    assert "Mine" not in found.ours + found.why
    assert "plan eager" in found.ours
    assert {row.network for row in found.sources} == {"rfbsnet", "unet"}


def test_every_claim_of_the_grid_says_why_and_from_which_records(results: Path) -> None:
    for claim in by_text(results).values():
        assert claim.why
        assert claim.outcome == "not tested" or claim.sources, claim.text
        assert claim.why not in claim.ours


@pytest.mark.parametrize(("ms", "outcome"), [(2.0, "holds"), (4.2, "undecided"), (9.0, "falls")])
def test_real_time_is_open_between_median_and_bound(
    tmp_path: Path, ms: float, outcome: str
) -> None:
    """p90 is an upper bound: above 5 ms with the median below, nothing is shown either way."""
    cells = [Cell(network="rfbsnet", forward_ms=ms)]
    found = by_text(factory.write_results(tmp_path / "results", cells))
    claim = found["RFBSNet answers within 5 ms, hence in real time."]
    assert claim.outcome == outcome
    assert "the network alone takes" in claim.why


def test_claims_have_outcomes_and_reasons(ranked: tuple[Board, Standings]) -> None:
    found = {claim.text: claim for claim in claims(*ranked)}
    assert len(found) == 8
    outcomes = {text.split()[0] + " " + text.split()[1]: c.outcome for text, c in found.items()}
    assert found["RFBSNet is the fastest network at batch size 1."].outcome == "falls"
    assert found["RFBSNet answers within 5 ms, hence in real time."].outcome == "falls"
    assert found["U-Net and SegNet need much memory."].outcome == "holds"
    assert found["RFBSNet does not differ from U-Net in accuracy."].outcome == "undecided"
    assert all(claim.why for claim in found.values()), outcomes


def test_no_claims_without_the_papers_network(tmp_path: Path) -> None:
    results = factory.write_results(tmp_path / "results", [Cell(network="enet")])
    assert claims(*board_of(results)) == []
