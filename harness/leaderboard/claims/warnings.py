"""What a reader must know before quoting a figure of a board."""

from __future__ import annotations

from harness.leaderboard.board.boards import Board
from harness.records.selection import lost_seeds_notes

FEW_SUBJECTS = 10


def warnings(board: Board) -> tuple[str, ...]:
    """The warnings about a board, each once, most serious first."""
    found = [
        *lost_seeds_notes(board.stored),
        *_of_latencies(board),
        *_of_data(board),
        *_of_training(board),
        *_of_the_floor(board),
        *_of_cells_without_result(board),
    ]
    return tuple(dict.fromkeys(found))


def _of_latencies(board: Board) -> list[str]:
    stamps = sorted({row.stamp for row in board.rows if row.stamp})
    return [f"Latencies are {stamp}." for stamp in stamps]


def _of_data(board: Board) -> list[str]:
    found = []
    for record in board.records:
        found += [str(warning) for warning in record.dataset.get("warnings") or ()]
        for set_name, scores in record.scores.items():
            if scores.subjects < FEW_SUBJECTS:
                noun = "subject" if scores.subjects == 1 else "subjects"
                found.append(
                    f"The {set_name} set has {scores.subjects} {noun}: differences between "
                    "networks are uncertain."
                )
    return found


def _of_training(board: Board) -> list[str]:
    epochs = {r.training.epochs for r in board.records if r.training}
    precisions = sorted({r.training.precision for r in board.records if r.training})
    found = []
    if len(precisions) > 1:
        found.append(
            f"Networks were trained in {' and '.join(precisions)}: the ranking compares trainings "
            "as much as networks."
        )
    if len(epochs) < 2:
        return found
    return [
        *found,
        f"Networks were trained for {min(epochs)} to {max(epochs)} epochs: the ranking compares "
        "trainings as much as networks.",
    ]


def _of_the_floor(board: Board) -> list[str]:
    """Whether any trained network is better than what needs no training."""
    scored = [(dice, row) for row in board.rows if (dice := row.mean_dice) is not None]
    floors = [(dice, row) for dice, row in scored if not row.trained]
    trained = [dice for dice, row in scored if row.trained]
    if not floors or not trained:
        return []
    level, floor = max(floors, key=lambda pair: pair[0])
    if level < max(trained):
        return []
    return [f"No trained network beats {floor.title}, the floor: {floor.dice_text}."]


def _of_cells_without_result(board: Board) -> list[str]:
    without = {(row.network, row.backend) for row in board.rows if not row.has_result}
    if not without:
        return []
    noun = "cell has" if len(without) == 1 else "cells have"
    return [f"{len(without)} {noun} no result; the table says why."]
