"""The page's two tables of who is better as figures for papers: verdicts and rank probabilities.

On the page they are tables, which a screen reader can read; these stand beside it as files.
"""

from __future__ import annotations

import numpy as np
import seaborn as sns
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.columns import SET_TITLES
from harness.leaderboard.board.standings import FamilyView, Standings
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.latency_dice import Drawing
from harness.leaderboard.figures.svg import style, to_svg

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
    """Two drawings a family: the verdict of each row against each column, and rank chances."""
    drawings = []
    for view in standings.families:
        if not view.compares:
            continue
        where = f"{SET_TITLES[view.set_name].lower()} set, {view.backend_title}"
        for kind, title, caption, draw in (
            ("verdicts", "Pairwise verdicts", "Verdict of the row against the column", _verdicts),
            ("ranks", "Rank probabilities", "Probability of each rank, %", _ranks),
        ):

            def drawn(view: FamilyView = view, draw=draw) -> Figure:
                return draw(view)

            name = f"{kind}-{view.set_name}-{view.backend}"
            text = f"{caption}, by brain Dice, mean over {view.family.subjects} subjects."
            svg = to_svg(drawn(), f"{board.id}-{name}", f"{title}, {where}. {text}")
            drawings.append(
                Drawing(name=name, title=f"{title}, {where}", caption=text, svg=svg, draw=drawn)
            )
    return drawings


def _square(names: list[str]) -> Figure:
    side = 1.9 + 0.36 * len(names)
    return Figure(figsize=(side + 0.5, side), layout="constrained")


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
        figure = _square(names)
        axes = figure.add_subplot()
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
        figure = _square(view.names)
        axes = figure.add_subplot()
        sns.heatmap(
            chances, ax=axes, annot=texts, fmt="", cbar=False, linewidths=1.5, vmin=0, vmax=100,
            cmap=sns.light_palette(ACCENT, as_cmap=True), yticklabels=view.names,
            xticklabels=list(map(str, range(1, len(view.names) + 1))), square=True,
        )  # fmt: skip
        axes.set_xlabel("Rank")
        axes.grid(visible=False)
    return figure
