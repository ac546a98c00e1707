"""The paper's claims as sentences, each tested on this data and this machine."""

from __future__ import annotations

from harness import registry
from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.rows import Row
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
    speed = claims_speed.Speed(board=board, rows=_timed(board, nine, standings.reference))
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


def _timed(board: Board, nine: list[Row], reference: str) -> list[Row]:
    """The rows of the backend and plan in which most networks were timed.

    Of several, those of the `reference` backend, then those in the backend's default plan and of
    float32. Speed depends on no score: the plan is found even if nothing was scored.
    """
    quantity = board.timed_quantity
    if quantity is None:
        return []
    plans: dict[tuple[str, str, str], list[Row]] = {}
    for row in nine:
        if row.number(f"{quantity}_p50_ms") is not None:
            plans.setdefault((row.backend, row.plan, row.precision), []).append(row)

    def preference(key: tuple[str, str, str]) -> tuple[bool, int, bool, bool, int, str]:
        backend, plan, precision = key
        rows = plans[key]
        default = any(e.default for row in rows for e in row.latencies(quantity).values())
        own = any(row.network == PROPOSED for row in rows)
        order = list(registry.BACKEND_TITLES)
        position = order.index(backend) if backend in order else len(order)
        return (
            not (own and (not reference or backend == reference)),
            -len(rows),
            precision != "float32",
            not default,
            position,
            plan,
        )

    if not plans:
        return []
    chosen = min(plans, key=preference)
    return [row for row in nine if (row.backend, row.plan, row.precision) == chosen]
