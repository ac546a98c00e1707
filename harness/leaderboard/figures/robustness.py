"""Robustness: accuracy against the strength of one degradation, on a swept phantom.

A sweep shows the same subjects at each strength with nothing else wrong, so that a line compares
like with like (`fetalbench data phantom --sweep`). Strengths that were merely drawn make no line.
"""

from __future__ import annotations

import pandas as pd
from matplotlib.figure import Figure

from harness.data.phantom.presets import LEAST_LEVELS
from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.cells import Cell, backend_title
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.curves import MAX_LINES
from harness.leaderboard.figures.latency_dice import Drawing, label_ends
from harness.leaderboard.figures.svg import NETWORK, style, to_svg

STRENGTH = "strength_"
# Where a slice lies in the brain is written down as a strength, too, but is not done to it.
PLACE = "strength_edge"
QUANTITIES = (
    ("dice", "Brain Dice, %", "mean brain Dice over subjects, slices with brain"),
    ("missed", "Missed slices, %", "share of slices with brain in which nothing was found"),
)


def sweep_of(slices: pd.DataFrame, name: str) -> pd.DataFrame:
    """Dice, miss rate (fractions) and subjects by level of strength `name`; empty if not swept.

    Counted are challenging slices with brain whose other strengths are all 0, at levels that
    several share: drawn strengths coincide at their ends, 0 and 1, alone, which are too few for a
    curve. Means are over slices and then over subjects.
    """
    columns = [c for c in slices.columns if c.startswith(STRENGTH) and c != PLACE]
    others = [c for c in columns if c != name]
    swept = (slices["set"] == "challenging") & (slices[others] == 0).all(axis=1)
    alone = slices[swept & (slices["brain_pixels"] > 0)]
    rows = alone.assign(level=alone[name].round(6), missed=alone["case"] == "missed")
    shared = rows.groupby("level").filter(lambda part: len(part) > 1)
    by_subject = shared.groupby(["level", "subject"])[["dice", "missed"]].mean()
    by_level = by_subject.groupby("level")
    levels = by_level.mean().assign(subjects=by_level.size())
    return levels if len(levels) >= LEAST_LEVELS else levels.iloc[:0]


def robustness(board: Board) -> list[Drawing]:
    """For each swept strength, Dice and miss rate by strength; one line a network."""
    cells: dict[str, Cell] = {}
    for cell in board.cells:
        if cell.finished and "slices.parquet" in cell.finished[0].record.files:
            cells.setdefault(cell.network, cell)
    chosen = list(cells.values())[:MAX_LINES]
    tables = {cell.network: cell.finished[0].slices() for cell in chosen}
    first = next(iter(tables.values()), pd.DataFrame())
    drawings = []
    for name in (c for c in first.columns if c.startswith(STRENGTH) and c != PLACE):
        sweeps = {network: sweep_of(table, name) for network, table in tables.items()}
        if all(sweep.empty for sweep in sweeps.values()):
            continue
        drawings += [_drawing(board, chosen, name, sweeps, *quantity) for quantity in QUANTITIES]
    return drawings


def _drawing(
    board: Board,
    cells: list[Cell],
    name: str,
    sweeps: dict[str, pd.DataFrame],
    quantity: str,
    label: str,
    meaning: str,
) -> Drawing:
    own = name.removeprefix(STRENGTH)
    title = f"{label.split(',')[0]} against the strength of {own}"
    backends = ", ".join(dict.fromkeys(backend_title(cell.backend) for cell in cells))
    count = max(int(sweep["subjects"].max()) for sweep in sweeps.values() if not sweep.empty)
    shown = "One subject" if count == 1 else f"The same {count} subjects"
    caption = (
        f"{shown} at each strength, nothing else wrong: {meaning} ({backends}, lowest "
        "seed). Strengths are those of the phantom, from 0 (none) to 1 (hardly readable)."
    )

    def draw() -> Figure:
        return _lines(board, cells, own, sweeps, quantity, label)

    file_name = f"robustness-{own}-{quantity}"
    svg = to_svg(draw(), f"{board.id}-{file_name}", f"{title}. {caption}")
    return Drawing(name=file_name, title=title, caption=caption, svg=svg, draw=draw)


def _lines(
    board: Board,
    cells: list[Cell],
    own: str,
    sweeps: dict[str, pd.DataFrame],
    quantity: str,
    label: str,
) -> Figure:
    hues = palette.hues(cell.network for cell in board.cells)
    with style():
        figure = Figure(figsize=(6.4, 3.9), layout="constrained")
        axes = figure.add_subplot()
        ends = []
        for cell in cells:
            sweep = 100 * sweeps[cell.network][quantity]
            if sweep.empty:
                continue
            gid = f"{NETWORK}{cell.network}/line"
            color = hues[cell.network]
            axes.plot(sweep.index, sweep, color=color, marker="o", markersize=4, gid=gid)
            ends.append((sweep.index[-1], float(sweep.iloc[-1]), cell.network, cell.title))
        axes.set_xlabel(f"Strength of {own}")
        axes.set_ylabel(label)
        label_ends(figure, axes, ends, hues)
    return figure
