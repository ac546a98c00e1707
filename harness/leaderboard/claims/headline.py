"""The answer in a sentence, and the warnings that belong beside it."""

from __future__ import annotations

from dataclasses import dataclass

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.columns import SETS
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.standings import Standings
from harness.leaderboard.figures.latency_dice import timed_quantity
from harness.records.selection import lost_seeds_notes

FEW_SUBJECTS = 10
# Rows within this many points of the best Dice count as near it, for the headline alone.
NEAR_POINTS = 1.0


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """`headline` answers, `support` gives the runners-up, `warnings` say what limits both."""

    headline: str
    support: tuple[str, ...]
    warnings: tuple[str, ...]


def verdict(board: Board, standings: Standings) -> Verdict:
    """The verdict on a board: means for the sentence, `standings` for how sure it is."""
    scored = [row for row in board.rows if _mean_dice(row) is not None]
    # What was never trained is the floor, there to be beaten, and wins only where it is alone.
    ranked = [row for row in scored if _trained(row)] or scored
    quantity = timed_quantity(board)
    if not ranked:
        return _of_speed_alone(board, quantity)
    best = max(ranked, key=lambda row: (_mean_dice(row) or 0, -_latency(row, quantity)))
    top = _mean_dice(best) or 0
    near = [row for row in ranked if top - (_mean_dice(row) or 0) <= NEAR_POINTS]
    chosen = min(near, key=lambda row: (_latency(row, quantity), row.id))
    support = []
    if chosen.network != best.network:
        support.append(
            f"{best.title} scores highest ({_scores(best)}) but takes {_time(best, quantity)}; "
            f"{chosen.title} is within {NEAR_POINTS:g} point of it."
        )
    support += _certainty(chosen, standings)
    timed = [row for row in ranked if _latency(row, quantity) < float("inf")]
    if timed:
        fastest = min(timed, key=lambda row: (_latency(row, quantity), row.id))
        if fastest.network != chosen.network:
            support.append(f"Fastest is {_name(fastest)}: {_time(fastest, quantity)} a slice, "
                           f"{_scores(fastest)}.")  # fmt: skip
    headline = f"{_name(chosen)} finds the fetal brain with {_scores(chosen)}"
    if _latency(chosen, quantity) < float("inf"):
        headline += f", in {_time(chosen, quantity)} a slice"
    return Verdict(headline=headline + ".", support=tuple(support), warnings=warnings(board))


def _of_speed_alone(board: Board, quantity: str) -> Verdict:
    """The verdict where nothing was segmented: which network is fastest, and how it was run."""
    timed = [row for row in board.rows if _latency(row, quantity) < float("inf")]
    if not timed:
        headline, support = "No network has been scored yet.", ()
    else:
        fastest = min(timed, key=lambda row: (_latency(row, quantity), row.id))
        headline = f"{_run(fastest)} is fastest: {_time(fastest, quantity)} a slice."
        exact = [row for row in timed if row.precision == "float32"]
        best = min(exact or timed, key=lambda row: (_latency(row, quantity), row.id))
        support = ("Networks were timed here and not scored: speed alone chooses no network.",)
        if best is not fastest:
            support = (f"In float32 it is {_run(best)}: {_time(best, quantity)}.", *support)
    return Verdict(headline=headline, support=support, warnings=warnings(board))


def _certainty(chosen: Row, standings: Standings) -> list[str]:
    """Which networks the data do not tell apart from the chosen one, set by set."""
    sentences = []
    for set_name in SETS:
        view = standings.of(set_name, chosen.backend)
        name = standings.names[chosen.network]
        if view is None or name not in view.names or len(view.names) < 2:
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
            parts.append("the data tell it apart from no other network")
        elif unknown:
            parts.append(f"the data do not tell it apart from {_list(unknown)}")
        if not parts:
            parts.append("it is more accurate than every other network")
        sentences.append(f"On the {set_name} set {'; '.join(parts)}.")
    return sentences


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def warnings(board: Board) -> tuple[str, ...]:
    """What a reader must know before quoting a figure of this board, most serious first."""
    found: dict[str, None] = {}
    found |= dict.fromkeys(
        lost_seeds_notes([stored for cell in board.cells for stored in cell.stored])
    )
    stamps = sorted({row.stamp for row in board.rows if row.stamp})
    found |= {f"Latencies are {stamp}.": None for stamp in stamps}
    for record in board.records:
        for warning in record.dataset.get("warnings") or ():
            found[str(warning)] = None
        for set_name, scores in record.scores.items():
            if scores.subjects < FEW_SUBJECTS:
                noun = "subject" if scores.subjects == 1 else "subjects"
                found[
                    f"The {set_name} set holds {scores.subjects} {noun}: differences between "
                    "networks are uncertain."
                ] = None
    epochs = {r.key.network: r.training.epochs for r in board.records if r.training}
    if len(set(epochs.values())) > 1:
        found[
            f"Networks were trained for {min(epochs.values())} to {max(epochs.values())} epochs: "
            "the ranking compares trainings as much as networks."
        ] = None
    floor = max((row for row in board.rows if _is_floor(row)), key=_order, default=None)
    trained = [row for row in board.rows if _trained(row) and _mean_dice(row) is not None]
    if floor and trained and _order(floor) >= max(map(_order, trained)):
        found[f"No trained network beats {floor.title}, the floor: {_scores(floor)}."] = None
    unfinished = {
        (row.network, row.backend)
        for row in board.rows
        if not (row.cell and (row.cell.scored or row.status == "ok"))
    }
    if unfinished:
        noun = "cell has" if len(unfinished) == 1 else "cells have"
        found[f"{len(unfinished)} {noun} no result; the table says why."] = None
    return tuple(found)


def _order(row: Row) -> float:
    return _mean_dice(row) or 0.0


def _is_floor(row: Row) -> bool:
    return not _trained(row) and _mean_dice(row) is not None


def _trained(row: Row) -> bool:
    return row.cell is not None and any(record.training for record in row.cell.records)


def _mean_dice(row: Row) -> float | None:
    values = [row.values[f"{name}_dice"].number for name in SETS if f"{name}_dice" in row.values]
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _latency(row: Row, quantity: str) -> float:
    value = row.values.get(f"{quantity}_p50_ms")
    return value.number if value and value.number is not None else float("inf")


def _time(row: Row, quantity: str) -> str:
    return f"{row.values[f'{quantity}_p50_ms'].text} ms"


def _name(row: Row) -> str:
    return f"{row.title} in {row.backend_title}"


def _run(row: Row) -> str:
    return f"{_name(row)} ({row.plan})"


def _scores(row: Row) -> str:
    parts = [
        f"{row.values[f'{name}_dice'].number:.1f}\N{NO-BREAK SPACE}% on {name}"
        for name in SETS
        if row.values[f"{name}_dice"].number is not None
    ]
    return f"Dice {' and '.join(parts)} slices"
