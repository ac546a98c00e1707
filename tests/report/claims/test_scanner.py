"""Which networks would do for a scanner, by the numbers of their rows."""

from __future__ import annotations

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.standings import Standings
from harness.leaderboard.claims.scanner import DEADLINE_MS, LEAST_DICE, candidates


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
