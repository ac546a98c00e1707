"""The answer in a sentence, and how certain it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.standings import Standings
from harness.leaderboard.board.timings import Quantity
from harness.leaderboard.board.titles import SETS
from harness.leaderboard.claims.warnings import warnings

# Rows within this many points of the best Dice count as near it, in the headline alone.
NEAR_POINTS = 1.0


@dataclass(frozen=True, kw_only=True)
class Headline:
    """`answer` names a network, `support` the runners-up, `warnings` what limits both."""

    answer: str
    support: tuple[str, ...]
    warnings: tuple[str, ...]


def headline(board: Board, standings: Standings) -> Headline:
    """The headline of a board: chosen by means, with `standings` for how certain it is."""
    scored = [row for row in board.rows if row.mean_dice is not None]
    # A floor, which was never trained, wins only if it is alone.
    ranked = [row for row in scored if row.trained] or scored
    answer, *support = _of_scores(board, ranked, standings) if ranked else _of_speed_alone(board)
    return Headline(answer=answer, support=tuple(support), warnings=warnings(board))


def chosen_row(board: Board) -> Row | None:
    """The row that the headline is about; None if nothing was scored or timed."""
    scored = [row for row in board.rows if row.mean_dice is not None]
    ranked = [row for row in scored if row.trained] or scored
    quantity = board.timed_quantity
    if ranked:
        return _chosen(ranked, quantity)
    timed = [row for row in board.rows if _latency(row, quantity) < inf]
    return _fastest(timed, quantity) if timed else None


def _chosen(ranked: Sequence[Row], quantity: Quantity | None) -> Row:
    """The fastest of the rows near the best Dice."""
    top = max(row.mean_dice or 0 for row in ranked)
    return _fastest([r for r in ranked if top - (r.mean_dice or 0) <= NEAR_POINTS], quantity)


def _of_scores(board: Board, ranked: Sequence[Row], standings: Standings) -> list[str]:
    """Answer and support when networks were scored: the fastest of those near the best Dice."""
    quantity = board.timed_quantity
    best = max(ranked, key=lambda row: (row.mean_dice or 0, -_latency(row, quantity)))
    chosen = _chosen(ranked, quantity)
    answer = f"{_name(chosen)} finds the fetal brain with {chosen.dice_text}"
    if _latency(chosen, quantity) < inf:
        answer += f", in {_time(chosen, quantity)} per slice"
    sentences = [f"{answer}."]
    if chosen.network != best.network:
        sentences.append(
            f"{best.title} scores highest ({best.dice_text}) but takes {_time(best, quantity)}; "
            f"{chosen.title} is within {NEAR_POINTS:g} point of it."
        )
    sentences += _certainty(chosen, standings)
    timed = [row for row in ranked if _latency(row, quantity) < inf]
    if timed and (fastest := _fastest(timed, quantity)).network != chosen.network:
        sentences.append(
            f"The fastest is {_name(fastest)}: {_time(fastest, quantity)} per slice, "
            f"{fastest.dice_text}."
        )
    return sentences


def _of_speed_alone(board: Board) -> list[str]:
    """Answer and support when nothing was segmented: the fastest network, and how it was run."""
    quantity = board.timed_quantity
    timed = [row for row in board.rows if _latency(row, quantity) < inf]
    if not timed:
        return ["No network has been scored yet."]
    fastest = _fastest(timed, quantity)
    sentences = [f"{_run(fastest)} is the fastest: {_time(fastest, quantity)} per slice."]
    exact = [row for row in timed if row.precision == "float32"] or timed
    if (best := _fastest(exact, quantity)) is not fastest:
        sentences.append(f"In float32 it is {_run(best)}: {_time(best, quantity)}.")
    sentences.append(
        "Networks were timed here and not scored; speed alone does not choose a network."
    )
    return sentences


def _certainty(chosen: Row, standings: Standings) -> list[str]:
    """Which networks the data cannot tell apart from the chosen one, set by set."""
    sentences = []
    for set_name in SETS:
        view = standings.of(set_name, chosen.backend)
        name = standings.names[chosen.network]
        if view is None or name not in view.names or not view.compares:
            continue
        verdicts = {o: view.family.verdict(name, o) for o in view.names if o != name}
        better = [other for other, found in verdicts.items() if found == "worse"]
        same = [other for other, found in verdicts.items() if found == "equivalent"]
        unknown = [o for o, found in verdicts.items() if found in ("undecided", "undefined")]
        parts = []
        if better:
            parts.append(f"{_list(better)} {'is' if len(better) == 1 else 'are'} more accurate")
        if same:
            parts.append(f"{_list(same)} {'is' if len(same) == 1 else 'are'} equivalent")
        if len(unknown) == len(verdicts) > 1:
            parts.append("the data cannot tell it apart from any other network")
        elif unknown:
            parts.append(f"the data cannot tell it apart from {_list(unknown)}")
        if not parts:
            parts.append("it is more accurate than every other network")
        sentences.append(f"On the {set_name} set, {'; '.join(parts)}.")
    return sentences


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _fastest(rows: Sequence[Row], quantity: Quantity | None) -> Row:
    return min(rows, key=lambda row: (_latency(row, quantity), row.id))


def _latency(row: Row, quantity: Quantity | None) -> float:
    number = row.number(f"{quantity}_p50_ms")
    return inf if number is None else number


def _time(row: Row, quantity: Quantity | None) -> str:
    return f"{row.values[f'{quantity}_p50_ms'].text} ms"


def _name(row: Row) -> str:
    return f"{row.title} in {row.backend_title}"


def _run(row: Row) -> str:
    return f"{_name(row)} ({row.plan})"
