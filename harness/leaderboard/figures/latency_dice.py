"""The paper's Fig. 5, speed against accuracy, redone from records; what all figures share."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise

import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.errors import RecordError
from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.columns import SET_TITLES, SETS
from harness.leaderboard.board.rows import Row
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.svg import EDGE, NETWORK, style, to_svg

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
# With more networks than this, only those on the Pareto front are named in the figure.
MAX_LABELS = 25
QUANTITY_TITLES = {"end_to_end": "end to end", "forward": "forward"}


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure of the page. `name` is also its file's name; `caption` is plain text.

    `draw` makes the matplotlib figure anew, for other formats than `svg`. Raises `RecordError`
    where a name that came from a record (a plan, a column) is no safe file name.
    """

    name: str
    title: str
    caption: str
    svg: str
    draw: Callable[[], Figure]

    def __post_init__(self) -> None:
        if not FILE_NAME.fullmatch(self.name):
            raise RecordError(
                f"a record asks for a figure called {self.name!r}, which is no safe file name: use "
                "letters, digits, '.', '_' and '-' in names of plans and columns, and run again."
            )


def plain_number(value: float, _position: int | None = None) -> str:
    """A tick label without exponents."""
    return f"{value:g}" if value < 1e5 else f"{value:,.0f}"


def pareto_front(points: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The (latency, score) points that no other beats in both, fastest first."""
    front: list[tuple[float, float]] = []
    for latency, score in sorted(set(points), key=lambda point: (point[0], -point[1])):
        if not front or score > front[-1][1]:
            front.append((latency, score))
    return front


def latency_versus_dice(board: Board) -> list[Drawing]:
    """Fig. 5: one drawing a test set, with the Pareto front; rows without either are left out."""
    quantity = timed_quantity(board)
    drawings = []
    for set_name in SETS if quantity else ():
        rows = [
            row
            for row in board.rows
            if _number(row, f"{set_name}_subject_dice") is not None
            and _number(row, f"{quantity}_p50_ms") is not None
        ]
        if not rows:
            continue
        title = f"Latency and Dice, {SET_TITLES[set_name].lower()} set"
        front = {(x, y) for x, y in pareto_front(_points(rows, set_name, quantity))}
        best = [row for row in rows if _point(row, set_name, quantity) in front]
        names = ", ".join(dict.fromkeys(f"{row.title} ({row.backend_title})" for row in best))
        caption = (
            f"Median {QUANTITY_TITLES[quantity]} latency of one slice (batch 1) against mean brain "
            f"Dice over subjects, each with its 95 % confidence interval (of the latency over "
            f"processes, where there are several). The dashed line is the Pareto front: no row is "
            f"both faster and more accurate than {names}."
        )

        def draw(rows=rows, set_name=set_name) -> Figure:
            return _scatter(board, rows, set_name, quantity)[0]

        figure, titles = _scatter(board, rows, set_name, quantity)
        name = f"latency-versus-dice-{set_name}"
        svg = to_svg(figure, f"{board.id}-{name}", f"{title}. {caption}", titles)
        drawings.append(Drawing(name=name, title=title, caption=caption, svg=svg, draw=draw))
    return drawings


def timed_quantity(board: Board) -> str:
    """The quantity that the board's figures show: `end_to_end` where it was measured."""
    for quantity in ("end_to_end", "forward"):
        if any(_number(row, f"{quantity}_p50_ms") is not None for row in board.rows):
            return quantity
    return ""


def _number(row: Row, key: str) -> float | None:
    value = row.values.get(key)
    return value.number if value else None


def _point(row: Row, set_name: str, quantity: str) -> tuple[float, float]:
    latency, dice = row.values[f"{quantity}_p50_ms"], row.values[f"{set_name}_subject_dice"]
    assert latency.number is not None
    assert dice.number is not None
    return latency.number, dice.number


def _points(rows: list[Row], set_name: str, quantity: str) -> list[tuple[float, float]]:
    return [_point(row, set_name, quantity) for row in rows]


def _scatter(
    board: Board, rows: list[Row], set_name: str, quantity: str
) -> tuple[Figure, dict[str, str]]:
    hues = palette.hues(cell.network for cell in board.cells)
    marks = palette.markers(row.backend for row in rows)
    titles: dict[str, str] = {}
    with style():
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        front = pareto_front(_points(rows, set_name, quantity))
        sns.lineplot(
            x=[x for x, _ in front], y=[y for _, y in front], ax=axes, drawstyle="steps-post",
            color=palette.MUTED[0], linewidth=1, linestyle="--", errorbar=None, zorder=1,
        )  # fmt: skip
        for row in rows:
            x, y = _point(row, set_name, quantity)
            gid = f"{NETWORK}{row.network}/{row.id}"
            titles[gid] = _hint(row, set_name, quantity)
            if interval := row.values[f"{set_name}_subject_dice"].interval:
                axes.plot([x, x], interval, color=hues[row.network], linewidth=1, alpha=0.55)
            if interval := row.values[f"{quantity}_p50_ms"].interval:
                axes.plot(
                    interval, [y, y], color=hues[row.network], linewidth=1, alpha=0.55,
                    gid=f"{NETWORK}{row.network}/latency",
                )  # fmt: skip
            axes.scatter(
                [x], [y], color=hues[row.network], marker=marks[row.backend], s=58,
                edgecolor=EDGE, linewidth=0.7, zorder=3, gid=gid,
            )  # fmt: skip
        axes.set_xscale("log")
        log_ticks(axes.xaxis)
        axes.margins(x=0.14, y=0.08)
        axes.set_xlabel(f"Median latency, {QUANTITY_TITLES[quantity]}, ms (logarithmic)")
        axes.set_ylabel("Brain Dice, mean over subjects, %")
        _label_networks(figure, axes, rows, set_name, quantity, hues)
        _backend_legend(axes, rows, marks)
    return figure, titles


def log_ticks(axis) -> None:
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(plain_number))
    axis.set_minor_formatter(NullFormatter())


def _hint(row: Row, set_name: str, quantity: str) -> str:
    dice, latency = row.values[f"{set_name}_subject_dice"], row.values[f"{quantity}_p50_ms"]
    plan = f", {row.plan}" if row.plan else ""
    return f"{row.title}, {row.backend_title}{plan}: Dice {dice.text} %, {latency.text} ms"


def _label_networks(figure, axes: Axes, rows: list[Row], set_name, quantity, hues) -> None:
    """Write each network's name beside its fastest point, where it covers nothing else."""
    fastest: dict[str, Row] = {}
    for row in rows:
        x, _ = _point(row, set_name, quantity)
        known = fastest.get(row.network)
        if known is None or x < _point(known, set_name, quantity)[0]:
            fastest[row.network] = row
    figure.draw_without_rendering()
    scale = figure.dpi / 72

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x, y = axes.transData.transform(point) / scale
        return x, y

    # Boxes (left, bottom, right, top) in points: beyond the frame, the marks, the front's treads.
    frame = axes.bbox.x0 / scale, axes.bbox.x1 / scale
    taken = [(-1e3, -1e3, frame[0], 1e3), (frame[1], -1e3, 1e4, 1e3)]
    points = _points(rows, set_name, quantity)
    taken += [(x - 4, y - 4, x + 4, y + 4) for x, y in map(place, points)]
    front = [place(point) for point in pareto_front(points)]
    taken += [(x, y - 1, after, y + 1) for (x, y), (after, _) in pairwise(front)]
    named = sorted(fastest.values(), key=lambda row: -_point(row, set_name, quantity)[1])
    if len(named) > MAX_LABELS:
        best = set(pareto_front(points))
        named = [row for row in named if _point(row, set_name, quantity) in best]
    for row in named:
        point = _point(row, set_name, quantity)
        dx, dy = _free_place(*place(point), 5.8 * len(row.title), taken)
        axes.annotate(
            row.title, point, (dx, dy), textcoords="offset points",
            color=hues[row.network], fontsize=10, va="center", ha="left" if dx > 0 else "right",
            gid=f"{NETWORK}{row.network}/label",
        )  # fmt: skip


def _free_place(x: float, y: float, width: float, taken: list) -> tuple[float, float]:
    """The first offset, in points, at which a label of `width` overlaps nothing; marks it taken."""
    places = [(side * gap, dy) for gap in (7, 9) for dy in (0, 9, -9, 18, -18) for side in (-1, 1)]
    best, least = places[0], float("inf")
    for dx, dy in places:
        left = x + dx if dx > 0 else x + dx - width
        box = (left, y + dy - 6, left + width, y + dy + 6)
        overlap = sum(
            max(0, min(box[2], b[2]) - max(box[0], b[0]))
            * max(0, min(box[3], b[3]) - max(box[1], b[1]))
            for b in taken
        )
        if overlap < least:
            best, least = (dx, dy), overlap
    dx, dy = best
    left = x + dx if dx > 0 else x + dx - width
    taken.append((left, y + dy - 6, left + width, y + dy + 6))
    return best


def _backend_legend(axes: Axes, rows: list[Row], marks: dict[str, str]) -> None:
    titles = {row.backend: row.backend_title for row in rows}
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


def label_ends(figure, axes: Axes, ends: list[tuple[float, float, str, str]], hues) -> None:
    """Name lines at their right end, pushed apart so that no label covers another."""
    axes.margins(x=0.03)
    right = axes.get_xlim()[1]
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    lowest = -1e9
    for x, y, network, title in sorted(ends, key=lambda end: (end[1], end[3])):
        height = axes.transData.transform((x, y))[1] / scale
        lowest = max(height, lowest + 12)
        axes.annotate(
            title, (right, y), (6, lowest - height), textcoords="offset points", fontsize=10,
            color=hues[network], va="center", annotation_clip=False,
            gid=f"{NETWORK}{network}/label",
        )  # fmt: skip
