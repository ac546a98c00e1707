"""The conditions of a headline: on what data, at which size, on which machine, how certain."""

from __future__ import annotations

from dataclasses import dataclass

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.titles import SETS
from harness.records.schema import SetScores

KINDS = {"phantom": "computed phantom, no patient"}


@dataclass(frozen=True, kw_only=True)
class Conditions:
    """Names and texts to stand beside the headline, in the first screen."""

    facts: tuple[tuple[str, str], ...]


def conditions(board: Board, row: Row | None) -> Conditions:
    """The conditions of a board; `row` is the one that the headline is about."""
    facts = [("Data", _data(board)), ("Input", _size(board)), ("Machine", _machine(board))]
    if row is not None:
        facts += _certainty(board, row)
    return Conditions(facts=tuple((name, text) for name, text in facts if text))


def _data(board: Board) -> str:
    data = board.records[0].dataset
    kind = str(data.get("kind") or "")
    said = KINDS.get(kind, kind) or "of unknown kind"
    subjects = [
        f"{scores.subjects} subjects ({set_name})"
        for set_name in SETS
        if (scores := _scores(board, set_name))
    ]
    return f"{said}; {', '.join(subjects)}" if subjects else f"{said}; nothing was scored"


def _scores(board: Board, set_name: str) -> SetScores | None:
    return next((r.scores[set_name] for r in board.records if set_name in r.scores), None)


def _size(board: Board) -> str:
    size = board.records[0].protocol.get("input")
    if not isinstance(size, dict) or "height" not in size:
        return ""
    return f"{size['height']}×{size['width']} pixels, for scores and latencies alike"


def _machine(board: Board) -> str:
    machine = board.machine
    return f"{board.machine_title}, {'GPU' if machine.gpu else 'no GPU'}"


def _certainty(board: Board, row: Row) -> list[tuple[str, str]]:
    facts = []
    for set_name in SETS:
        value = row.values.get(f"{set_name}_subject_dice")
        if value and value.interval and value.number is not None:
            low, high = value.interval
            facts.append(f"{low:.1f}–{high:.1f} % ({set_name})")
    found = [("95 % CI of Dice", f"{row.title}: {', '.join(facts)}, mean over subjects")]
    quantity = board.timed_quantity
    value = row.values.get(f"{quantity}_p50_ms")
    if quantity and value and value.number is not None:
        ends = value.interval
        said = f"95 % CI {ends[0]:.3g}–{ends[1]:.3g} ms" if ends else "no interval (one process)"
        stamp = f"; {row.stamp}" if row.stamp else ""
        plan = f"{row.backend_title}, {row.plan}"
        found.append(("Latency", f"{plan}: median {value.text} ms, {said}{stamp}"))
    return found if facts else found[1:]
