"""The page's tables of pairwise verdicts and rank probabilities, as figures for papers.

On the page they are tables, which a screen reader can read; these are files beside it.
"""

from __future__ import annotations

from functools import partial

import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.standings import FamilyView, Standings
from harness.leaderboard.board.titles import SET_TITLES
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.drawing import Drawing, new_axes
from harness.leaderboard.figures.svg import style

SIGNS = {"better": "+", "worse": "−", "equivalent": "=", "undecided": "?", "undefined": "·"}
_SHADES = {
    "better": "#9bc8c0",
    "worse": "#e6bcbc",
    "equivalent": "#e2f1ef",
    "undecided": "#f1f3f4",
    "undefined": "#ffffff",
}
ACCENT = "#0b6b62"


def heat_maps(board: Board, standings: Standings) -> list[Drawing]:
    """Two drawings per family: the verdict of each row against each column, and rank chances."""
    kinds = (
        ("verdicts", "Pairwise verdicts", "Verdict of the row against the column", _verdicts),
        ("ranks", "Rank probabilities", "Probability of each rank, %", _ranks),
    )
    return [
        Drawing(
            name=f"{kind}-{view.set_name}-{view.backend}",
            title=f"{title}, {SET_TITLES[view.set_name].lower()} set, {view.backend_title}",
            caption=f"{caption}, by brain Dice, mean over {view.family.subjects} subjects.",
            board_id=board.id,
            draw=partial(draw, view),
        )
        for view in standings.families
        if view.compares
        for kind, title, caption, draw in kinds
    ]


def _square(names: list[str]) -> tuple[Figure, Axes]:
    side = 1.9 + 0.36 * len(names)
    return new_axes(side + 0.5, side)


def _verdicts(view: FamilyView) -> Figure:
    names = [*view.names, *view.absent]
    kinds = list(SIGNS)
    codes = np.full((len(names), len(names)), kinds.index("undefined"))
    signs = np.full(codes.shape, "", dtype=object)
    for i, a in enumerate(names):
        for j, b in enumerate(names):
            if a != b:
                verdict = view.family.verdict(a, b)
                codes[i, j], signs[i, j] = kinds.index(verdict), SIGNS[verdict]
    with style():
        figure, axes = _square(names)
        sns.heatmap(
            codes, ax=axes, annot=signs, fmt="", cbar=False, linewidths=1.5, vmin=0,
            vmax=len(kinds) - 1, cmap=ListedColormap([_SHADES[kind] for kind in kinds]),
            xticklabels=names, yticklabels=names, annot_kws={"color": palette.INK[0]},
            mask=np.eye(len(names), dtype=bool), square=True,
        )  # fmt: skip
        axes.set_xlabel("  ".join(f"{sign} {kind}" for kind, sign in SIGNS.items()))
        axes.grid(visible=False)
    return figure


def _ranks(view: FamilyView) -> Figure:
    chances = 100 * np.array([standing.rank_chances for standing in view.family.standings])
    texts = np.array([[f"{c:.0f}" if c >= 0.5 else "" for c in row] for row in chances])
    with style():
        figure, axes = _square(view.names)
        sns.heatmap(
            chances, ax=axes, annot=texts, fmt="", cbar=False, linewidths=1.5, vmin=0, vmax=100,
            cmap=sns.light_palette(ACCENT, as_cmap=True), yticklabels=view.names,
            xticklabels=list(map(str, range(1, len(view.names) + 1))), square=True,
        )  # fmt: skip
        axes.set_xlabel("Rank")
        axes.grid(visible=False)
    return figure
