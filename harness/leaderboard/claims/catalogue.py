"""The paper's claims as sentences, each tested on this data and this machine."""

from __future__ import annotations

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.standings import Standings
from harness.leaderboard.claims import accuracy as claims_accuracy
from harness.leaderboard.claims import speed as claims_speed
from harness.leaderboard.claims.claim import NINE, PROPOSED, Claim


def claims(board: Board, standings: Standings) -> list[Claim]:
    """All claims; empty if the board has no result of the network that the paper proposes."""
    if not any(row.network == PROPOSED and row.has_result for row in board.rows):
        return []
    nine = [row for row in board.rows if row.network in NINE]
    own = [row for row in nine if row.backend == standings.reference]
    plan = next(((r.plan, r.precision) for r in own if r.network == PROPOSED and r.plan), None)
    timed = [row for row in own if (row.plan, row.precision) == plan]
    speed = claims_speed.Speed(board=board, rows=timed)
    accuracy = claims_accuracy.Accuracy(standings=standings, rows=own)
    return [
        claims_speed.fastest(speed),
        claims_accuracy.highest(accuracy),
        claims_accuracy.beats_real_time(accuracy),
        claims_accuracy.like_unet(accuracy),
        claims_accuracy.behind_segnet(accuracy),
        claims_speed.reversal(speed),
        claims_speed.memory(speed),
        claims_speed.real_time(speed),
    ]
