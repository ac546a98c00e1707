"""Robustness: accuracy against the strength of one degradation, on a swept phantom.

A sweep shows the same subjects at each strength with no other degradation, so that a line compares
like with like (`fetalbench data phantom --sweep`). Strengths drawn at random do not make a line.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import pandas as pd
from matplotlib.figure import Figure

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.seed_groups import SeedGroup
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

STRENGTH = "strength_"
# Where a slice lies in the brain is recorded as a strength too, but is not a degradation.
PLACE = "strength_edge"
# Two points make a line whatever lies between them.
LEAST_LEVELS = 3


class SweptQuantity(NamedTuple):
    """A column of `sweep_of`, its axis label, and what it means."""

    column: str
    label: str
    meaning: str


QUANTITIES = (
    SweptQuantity("dice", "Brain Dice, %", "mean brain Dice over subjects, slices with brain"),
    SweptQuantity(
        "missed", "Missed slices, %", "share of slices with brain in which nothing was found"
    ),
)


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """One strength of degradation: the seeds shown, and `sweep_of` each of their networks."""

    strength: str
    groups: list[SeedGroup]
    levels: dict[str, pd.DataFrame]

    @property
    def subjects(self) -> int:
        """The most subjects that any network has at one level."""
        return max(int(found["subjects"].max()) for found in self.levels.values() if len(found))


def sweep_of(slices: pd.DataFrame, name: str) -> pd.DataFrame:
    """Dice, miss rate (fractions) and subjects by level of strength `name`; empty if not swept.

    It counts challenging slices with brain whose other strengths are all 0, at levels that several
    share. Strengths drawn at random coincide only at 0 and 1, which are too few for a curve. Means
    are over slices, then over subjects.
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
    """For each swept strength, Dice and miss rate by strength, with one line per network."""
    groups: dict[str, SeedGroup] = {}
    for group in board.seed_groups:
        if group.finished and "slices.parquet" in group.finished[0].record.files:
            groups.setdefault(group.network, group)
    chosen = list(groups.values())[:MAX_LINES]
    tables = {group.network: group.finished[0].slices() for group in chosen}
    first = next(iter(tables.values()), pd.DataFrame())
    drawings = []
    for name in (c for c in first.columns if c.startswith(STRENGTH) and c != PLACE):
        found = {network: sweep_of(table, name) for network, table in tables.items()}
        if all(levels.empty for levels in found.values()):
            continue
        sweep = Sweep(strength=name.removeprefix(STRENGTH), groups=chosen, levels=found)
        drawings += [_drawing(board, sweep, quantity) for quantity in QUANTITIES]
    return drawings


def _drawing(board: Board, sweep: Sweep, quantity: SweptQuantity) -> Drawing:
    backends = ", ".join(dict.fromkeys(backend_title(group.backend) for group in sweep.groups))
    shown = "One subject" if sweep.subjects == 1 else f"The same {sweep.subjects} subjects"
    return Drawing(
        name=f"robustness-{sweep.strength}-{quantity.column}",
        title=f"{quantity.label.split(',')[0]} against the strength of {sweep.strength}",
        caption=f"{shown} at each strength, with no other degradation: {quantity.meaning} "
        f"({backends}, lowest seed). Strengths are those of the phantom, from 0 (none) to 1 "
        "(hardly readable).",
        board_id=board.id,
        draw=partial(_lines, board, sweep, quantity),
    )


def _lines(board: Board, sweep: Sweep, quantity: SweptQuantity) -> Figure:
    hues = hues_of(board)
    ends = []
    with style():
        figure, axes = new_axes(6.4, 3.9)
        for group in sweep.groups:
            values = 100 * sweep.levels[group.network][quantity.column]
            if values.empty:
                continue
            gid = f"{NETWORK}{group.network}/line"
            color = hues[group.network]
            axes.plot(values.index, values, color=color, marker="o", markersize=4, gid=gid)
            end = float(values.index[-1]), float(values.iloc[-1])
            ends.append(LineEnd(*end, group.network, group.title))
        axes.set_xlabel(f"Strength of {sweep.strength}")
        axes.set_ylabel(quantity.label)
        label_ends(figure, axes, ends, hues)
    return figure
