"""Every subject's score by every network, so that any two can be compared pair by pair."""

from __future__ import annotations

from functools import partial

from matplotlib.figure import Figure

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.standings import FamilyView, Standings
from harness.leaderboard.board.titles import SET_TITLES
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.drawing import MAX_LINES, Drawing, new_axes
from harness.leaderboard.figures.svg import style

# Nobody can follow more lines than this; of more subjects only the dots are drawn.
MAX_SUBJECTS = 40
SUBJECT = "subject:"


def subjects(board: Board, standings: Standings) -> list[Drawing]:
    """One drawing per test set, of the networks of the reference backend."""
    return [
        Drawing(
            name=f"subjects-{view.set_name}",
            title=f"Subject by subject, {SET_TITLES[view.set_name].lower()} set",
            caption=(
                f"Brain Dice of each of {view.family.subjects} subjects (false alarms counted, "
                f"mean over seeds) by each network in {view.backend_title}, best first. A line is "
                "one subject: it shows for any two networks who gains and who loses. The bar is "
                "the mean that ranks. Subjects are numbered in the order of their names."
            ),
            board_id=board.id,
            draw=partial(_draw, view),
            hints=_hints(view),
        )
        for view in standings.families
        if view.compares and view.backend == standings.reference
    ]


def _hints(view: FamilyView) -> dict[str, str]:
    best = view.family.standings[0]
    return {
        f"{SUBJECT}{number}": f"subject {number + 1}: {100 * dice:.1f} % by {best.name}"
        for number, dice in enumerate(best.by_subject)
    }


def _draw(view: FamilyView) -> Figure:
    standings = view.family.standings[:MAX_LINES]
    places = range(len(standings))
    with style():
        figure, axes = new_axes(6.4, 4.2)
        scores = zip(*(standing.by_subject for standing in standings), strict=True)
        for number, values in enumerate(scores):
            (line,) = axes.plot(
                places, [100 * value for value in values], color=palette.MUTED[0], alpha=0.45,
                linewidth=0.7 if view.family.subjects <= MAX_SUBJECTS else 0, marker="o",
                markersize=3, markeredgewidth=0,
            )  # fmt: skip
            line.set_gid(f"{SUBJECT}{number}")
        means = [100 * standing.mean for standing in standings]
        axes.hlines(
            means, [at - 0.3 for at in places], [at + 0.3 for at in places], linewidth=2,
            color=palette.INK[0], zorder=3,
        )  # fmt: skip
        axes.set_xticks(places, [standing.name for standing in standings], rotation=35, ha="right")
        axes.set_ylabel("Brain Dice of a subject, %")
        axes.grid(visible=False, axis="x")
    return figure
