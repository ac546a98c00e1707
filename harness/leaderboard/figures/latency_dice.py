"""Fig. 5 of the paper, speed against accuracy, from records."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from typing import NamedTuple

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.columns import Value
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.timings import Quantity
from harness.leaderboard.board.titles import QUANTITY_TITLES, SET_TITLES, SETS
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.drawing import Drawing, hues_of, log_ticks, new_axes
from harness.leaderboard.figures.svg import EDGE, NETWORK, style

# With more networks than this, only those on the Pareto front are named in the figure.
MAX_LABELS = 25


@dataclass(frozen=True, kw_only=True)
class Point:
    """A row in the figure."""

    row: Row
    latency: Value
    dice: Value
    xy: tuple[float, float]

    @property
    def gid(self) -> str:
        """What the mark is called in the SVG."""
        return f"{NETWORK}{self.row.network}/{self.row.id}"

    @property
    def hint(self) -> str:
        """What the mark says when it is pointed at."""
        plan = f", {self.row.plan}" if self.row.plan else ""
        return (
            f"{self.row.title}, {self.row.backend_title}{plan}: Dice {self.dice.text} %, "
            f"{self.latency.text} ms"
        )


class Box(NamedTuple):
    """A rectangle of the figure, in typographic points."""

    left: float
    bottom: float
    right: float
    top: float

    def overlap(self, other: Box) -> float:
        """The area that the two share."""
        width = max(0, min(self.right, other.right) - max(self.left, other.left))
        return width * max(0, min(self.top, other.top) - max(self.bottom, other.bottom))


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (latency, score) points that no other beats in both, fastest first."""
    front: list[tuple[float, float]] = []
    for latency, score in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((latency, score))
    return front


def latency_versus_dice(board: Board) -> list[Drawing]:
    """Fig. 5: one drawing per test set, with the Pareto front, of rows that have both figures."""
    quantity = board.timed_quantity
    if quantity is None:
        return []
    drawings = []
    for set_name in SETS:
        points = _points(board, set_name, quantity)
        if not points:
            continue
        front = set(pareto_front(point.xy for point in points))
        best = [point.row for point in points if point.xy in front]
        names = ", ".join(dict.fromkeys(f"{row.title} ({row.backend_title})" for row in best))
        drawings.append(
            Drawing(
                name=f"latency-versus-dice-{set_name}",
                title=f"Latency and Dice, {SET_TITLES[set_name].lower()} set",
                caption=(
                    f"Median {QUANTITY_TITLES[quantity]} latency of one slice (batch 1) against "
                    "mean brain Dice over subjects, each with its 95 % confidence interval (of the "
                    "latency over processes, if there are several). The dashed line is the Pareto "
                    f"front: no row is both faster and more accurate than {names}."
                ),
                board_id=board.id,
                draw=partial(_scatter, board, points, quantity),
                hints={point.gid: point.hint for point in points},
            )
        )
    return drawings


def _points(board: Board, set_name: str, quantity: Quantity) -> list[Point]:
    found = []
    for row in board.rows:
        latency, dice = (
            row.values.get(key) for key in (f"{quantity}_p50_ms", f"{set_name}_subject_dice")
        )
        if latency is None or dice is None or latency.number is None or dice.number is None:
            continue
        xy = latency.number, dice.number
        found.append(Point(row=row, latency=latency, dice=dice, xy=xy))
    return found


def _scatter(board: Board, points: list[Point], quantity: Quantity) -> Figure:
    hues = hues_of(board)
    marks = palette.markers(point.row.backend for point in points)
    front = pareto_front(point.xy for point in points)
    with style():
        figure, axes = new_axes(6.4, 4.6)
        sns.lineplot(
            x=[x for x, _ in front], y=[y for _, y in front], ax=axes, drawstyle="steps-post",
            color=palette.MUTED[0], linewidth=1, linestyle="--", errorbar=None, zorder=1,
        )  # fmt: skip
        for point in points:
            _mark(axes, point, hues[point.row.network], marks[point.row.backend])
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
        axes.margins(x=0.14, y=0.08)
        axes.set_xlabel(f"Median latency, {QUANTITY_TITLES[quantity]}, ms (logarithmic)")
        axes.set_ylabel("Brain Dice, mean over subjects, %")
        _label_networks(figure, axes, points, hues)
        _backend_legend(axes, points, marks)
    return figure


def _mark(axes: Axes, point: Point, color: str, marker: str) -> None:
    """A row's mark, with the intervals of its Dice and of its latency."""
    x, y = point.xy
    if interval := point.dice.interval:
        axes.plot([x, x], interval, color=color, linewidth=1, alpha=0.55)
    if interval := point.latency.interval:
        gid = f"{NETWORK}{point.row.network}/latency"
        axes.plot(interval, [y, y], color=color, linewidth=1, alpha=0.55, gid=gid)
    axes.scatter(
        [x], [y], color=color, marker=marker, s=58, edgecolor=EDGE, linewidth=0.7, zorder=3,
        gid=point.gid,
    )  # fmt: skip


def _label_networks(figure: Figure, axes: Axes, points: list[Point], hues: dict[str, str]) -> None:
    """Write each network's name beside its fastest mark, where it covers nothing else."""
    figure.draw_without_rendering()
    scale = figure.dpi / 72

    def place(xy: tuple[float, float]) -> tuple[float, float]:
        x, y = axes.transData.transform(xy) / scale
        return x, y

    # Taken are the space beyond the frame, the marks, and the treads of the front.
    front = pareto_front(point.xy for point in points)
    taken = [
        Box(-1e3, -1e3, axes.bbox.x0 / scale, 1e3),
        Box(axes.bbox.x1 / scale, -1e3, 1e4, 1e3),
    ]
    taken += [Box(x - 4, y - 4, x + 4, y + 4) for x, y in (place(point.xy) for point in points)]
    treads = pairwise([place(xy) for xy in front])
    taken += [Box(x, y - 1, after, y + 1) for (x, y), (after, _) in treads]
    for point in _named(points, front):
        title = point.row.title
        dx, dy = _free_place(*place(point.xy), 5.8 * len(title), taken)
        axes.annotate(
            title, point.xy, (dx, dy), textcoords="offset points",
            color=hues[point.row.network], fontsize=10, va="center",
            ha="left" if dx > 0 else "right", gid=f"{NETWORK}{point.row.network}/label",
        )  # fmt: skip


def _named(points: list[Point], front: list[tuple[float, float]]) -> list[Point]:
    """The fastest point of each network, best Dice first; of many networks those on the front."""
    fastest: dict[str, Point] = {}
    for point in points:
        known = fastest.get(point.row.network)
        if known is None or point.xy[0] < known.xy[0]:
            fastest[point.row.network] = point
    named = sorted(fastest.values(), key=lambda point: -point.xy[1])
    return named if len(named) <= MAX_LABELS else [point for point in named if point.xy in front]


def _free_place(x: float, y: float, width: float, taken: list[Box]) -> tuple[float, float]:
    """The offset, in points, at which a label of `width` overlaps least; marks its box as taken."""
    places = [(side * gap, dy) for gap in (7, 9) for dy in (0, 9, -9, 18, -18) for side in (-1, 1)]

    def box(dx: float, dy: float) -> Box:
        left = x + dx if dx > 0 else x + dx - width
        return Box(left, y + dy - 6, left + width, y + dy + 6)

    best = min(places, key=lambda place: sum(box(*place).overlap(other) for other in taken))
    taken.append(box(*best))
    return best


def _backend_legend(axes: Axes, points: list[Point], marks: dict[str, str]) -> None:
    titles = {point.row.backend: point.row.backend_title for point in points}
    if len(titles) < 2:
        return
    handles = [
        Line2D([], [], marker=mark, linestyle="", color=palette.MUTED[0], label=titles[backend])
        for backend, mark in marks.items()
    ]
    axes.legend(
        handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=len(handles),
        handletextpad=0.1, columnspacing=1.2, borderaxespad=0.2,
    )  # fmt: skip
