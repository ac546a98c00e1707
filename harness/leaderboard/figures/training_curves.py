"""How the weights came about: training loss and validation Dice by epoch."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.titles import backend_title
from harness.leaderboard.figures.drawing import (
    MAX_LINES,
    Drawing,
    LineEnd,
    hues_of,
    label_ends,
    new_axes,
)
from harness.leaderboard.figures.svg import NETWORK, style
from harness.records.store import StoredRecord


class Panel(NamedTuple):
    """A column of the training history, its axis label, and the factor to that label's unit."""

    column: str
    label: str
    scale: float


PANELS = (
    Panel("train_loss", "Training loss", 1.0),
    Panel("validation_dice", "Validation Dice, %", 100.0),
)


def training_curves(board: Board) -> list[Drawing]:
    """Loss and validation Dice by epoch, one drawing of each per backend that trained weights."""
    trained: dict[str, dict[str, StoredRecord]] = {}
    networks = list(dict.fromkeys(row.network for row in board.rows))[:MAX_LINES]
    for group in board.seed_groups:
        for stored in group.scored:
            training = stored.record.training
            own = training is not None and training.weights_from == group.backend
            if own and group.network in networks and "history.parquet" in stored.record.files:
                trained.setdefault(group.backend, {}).setdefault(group.network, stored)
    return [
        Drawing(
            name=f"training-{panel.column.replace('_', '-')}-{backend}",
            title=f"{panel.label.split(',')[0]} by epoch, trained in {backend_title(backend)}",
            caption="The lowest seed of each network; the best validation weights are kept.",
            board_id=board.id,
            draw=partial(_curves, board, found, panel),
        )
        for backend, found in trained.items()
        for panel in PANELS
    ]


def _curves(board: Board, found: dict[str, StoredRecord], panel: Panel) -> Figure:
    hues = hues_of(board)
    ends = []
    with style():
        figure, axes = new_axes(6.4, 3.9)
        for network, stored in found.items():
            history = stored.history()
            epochs, values = history["epoch"], panel.scale * history[panel.column]
            gid = f"{NETWORK}{network}/line"
            # A line of one epoch has no length: a dot shows it.
            mark = "o" if len(history) == 1 else ""
            axes.plot(epochs, values, color=hues[network], linewidth=1.4, gid=gid, marker=mark)
            end = float(epochs.iloc[-1]), float(values.iloc[-1])
            ends.append(LineEnd(*end, network, stored.record.title))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Epoch")
        axes.set_ylabel(panel.label)
        label_ends(figure, axes, ends, hues)
    return figure
