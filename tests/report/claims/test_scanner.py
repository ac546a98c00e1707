"""Which networks would do for a scanner, by the numbers of their rows."""

from __future__ import annotations

from pathlib import Path

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.standings import Standings
from harness.leaderboard.claims.scanner import scanner
from tests.report import factory
from tests.report.reading import board_of


def test_scanner_choice_follows_from_the_numbers(ranked: tuple[Board, Standings]) -> None:
    board, _ = ranked
    found = scanner(board)
    assert len(found.candidates) == len(board.rows)
    without = {(c.network, c.row.backend): c.why for c in found.candidates if c.out}
    assert without["dfanet", "flax"] == "it has not been run yet"
    assert "(out of memory)" in without["segnet", "keras"]
    assert "4.0 GiB" in without["segnet", "keras"]
    finished = [candidate for candidate in found.candidates if not candidate.out]
    assert len(finished) == sum(row.status == "ok" for row in board.rows)
    assert found.least_dice is not None
    for candidate in finished:
        low = candidate.lows["normal"]
        assert candidate.p90_ms is not None
        assert low is not None
        meets = candidate.p90_ms <= found.deadline_ms and low >= found.least_dice
        assert meets == (not candidate.why)


def test_default_limits_can_be_met_and_every_refusal_is_counted(
    ranked: tuple[Board, Standings],
) -> None:
    found = scanner(ranked[0])
    assert found.networks >= 1
    assert len(found.qualified) + len(found.refused) == len(found.candidates)
    assert all(candidate.kinds for candidate in found.refused)
    assert "without a result" in found.refusals
    shown = [c for c in found.qualified if not c.second]
    assert len(shown) == found.networks
    assert len(found.qualified) == sum(1 + c.also for c in shown)


def test_a_board_without_scores_asks_for_no_dice(tmp_path: Path) -> None:
    cells = [factory.Cell(network=n, timed_only=True) for n in ("rfbsnet", "enet")]
    board, _ = board_of(factory.write_results(tmp_path / "results", cells))
    found = scanner(board)
    assert found.least_dice is None
    assert found.networks == 2
