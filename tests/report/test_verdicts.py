"""What the page concludes: ranks, intervals, claims, the choice for a scanner, the headline."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.leaderboard.board.boards import Board, build_boards
from harness.leaderboard.board.standings import Standings, with_standings
from harness.leaderboard.claims.catalogue import claims
from harness.leaderboard.claims.headline import verdict
from harness.leaderboard.claims.scanner import DEADLINE_MS, LEAST_DICE, candidates
from harness.records.store import load_galleries, load_records
from tests.report import factory
from tests.report.factory import Cell


def board_of(results: Path) -> tuple[Board, Standings]:
    (board,) = build_boards(load_records(results), load_galleries(results))
    return with_standings(board)


@pytest.fixture(scope="module")
def ranked(results: Path) -> tuple[Board, Standings]:
    return board_of(results)


def test_ranks_stand_beside_their_intervals(ranked: tuple[Board, Standings]) -> None:
    board, _ = ranked
    rows = {row.network: row for row in board.rows if row.backend == "torch"}
    assert rows["rfbsnet"].values["normal_rank"].number == 1
    assert rows["dfanet"].values["normal_rank"].number == 9
    subject = rows["rfbsnet"].values["normal_subject_dice"]
    assert subject.interval is not None
    assert subject.number is not None
    assert subject.interval[0] < subject.number < subject.interval[1] <= 100
    floor = next(row for row in board.rows if row.network == "threshold")
    assert "normal_rank" not in floor.values, "alone in its backend it has no rank"


def test_rank_chances_are_probabilities(ranked: tuple[Board, Standings]) -> None:
    _, standings = ranked
    view = standings.of("normal", "torch")
    assert view is not None
    for standing in view.family.standings:
        assert sum(standing.rank_chances) == pytest.approx(1)
        assert standing.rank_chances[0] == standing.first_probability


def test_eight_subjects_decide_nothing_and_the_page_says_so(
    ranked: tuple[Board, Standings],
) -> None:
    board, standings = ranked
    found = verdict(board, standings)
    assert found.headline.startswith("RFBSNet in PyTorch")
    assert any("tell it apart from no other network" in text for text in found.support)
    assert any("normal set holds 8 subjects" in text for text in found.warnings)
    assert any("quick profile" in text for text in found.warnings)


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


def test_scanner_choice_follows_from_the_numbers(ranked: tuple[Board, Standings]) -> None:
    board, _ = ranked
    found = candidates(board)
    assert len(found) == len(board.rows)
    without = {(c.network, c.row.backend): c.why for c in found if c.out}
    assert without["dfanet", "flax"] == "it has not been run yet"
    assert "(out of memory)" in without["segnet", "keras"]
    assert "4.0 GiB" in without["segnet", "keras"]
    finished = [candidate for candidate in found if not candidate.out]
    assert len(finished) == sum(row.status == "ok" for row in board.rows)
    for candidate in finished:
        low = candidate.lows["normal"]
        assert candidate.p90_ms is not None
        assert low is not None
        meets = candidate.p90_ms <= DEADLINE_MS and low >= LEAST_DICE
        assert meets == (not candidate.why)


def test_beaten_by_the_floor_is_said(tmp_path: Path) -> None:
    cells = [Cell(network="dfanet"), Cell(network="rfbsnet", title="RFBSNet", backend="torch")]
    results = factory.write_results(tmp_path / "a" / "results", cells)
    assert not any("floor" in text for text in verdict(*board_of(results)).warnings)
    floor = Cell(network="threshold", backend="numpy", title="Threshold")
    lone = factory.write_results(tmp_path / "b" / "results", [floor])
    assert "Threshold in NumPy" in verdict(*board_of(lone)).headline


def test_split_by_stack_is_warned_of(tmp_path: Path) -> None:
    warning = "The split is by stack: train and test share subjects."
    cells = [Cell(network="enet", dataset={"warnings": [warning], "split": {"by": "stack"}})]
    results = factory.write_results(tmp_path / "results", cells)
    assert warning in verdict(*board_of(results)).warnings


def test_networks_of_one_title_stay_apart(tmp_path: Path) -> None:
    cells = [Cell(network="enet", title="Same"), Cell(network="icnet", title="Same")]
    _, standings = board_of(factory.write_results(tmp_path / "results", cells))
    assert set(standings.names.values()) == {"Same (enet)", "Same (icnet)"}
