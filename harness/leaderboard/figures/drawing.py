"""What all figures share: a drawing, colours by network, axes, and names at the ends of lines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from harness.errors import RecordError
from harness.leaderboard.board.boards import Board
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.svg import NETWORK, to_pdf, to_svg

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,199}")
# Nobody can read more lines or bars than this; those of the best networks are drawn.
MAX_LINES = 25


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """A figure of the page, drawn when its `svg` or `pdf` is asked for.

    `name` is also the name of its file, `caption` is plain text, and `hints` maps the gids of
    artists to the text shown when they are pointed at. Raises `RecordError` if a name that came
    from a record (a plan, a column) is not a safe file name.
    """

    name: str
    title: str
    caption: str
    board_id: str
    draw: Callable[[], Figure]
    hints: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not FILE_NAME.fullmatch(self.name):
            raise RecordError(
                f"a record asks for a figure called {self.name!r}, which is not a safe file name: "
                "use letters, digits, '.', '_' and '-' in names of plans and columns, and run it "
                "again."
            )

    @property
    def path(self) -> str:
        """Where the figure lies below the report's folder, without the suffix."""
        return f"figures/{self.board_id}/{self.name}"

    @cached_property
    def svg(self) -> str:
        """The figure as one `<svg>` element."""
        label = f"{self.title}. {self.caption}"
        return to_svg(self.draw(), f"{self.board_id}-{self.name}", label, self.hints)

    def pdf(self) -> bytes:
        """The figure for a paper."""
        return to_pdf(self.draw())


class LineEnd(NamedTuple):
    """The right end of a line, in the units of its axes, and the network that it belongs to."""

    x: float
    y: float
    network: str
    title: str


def hues_of(board: Board) -> dict[str, str]:
    """The colour of each network of a board, the same in all of its figures."""
    return palette.hues(group.network for group in board.seed_groups)


def new_axes(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of that size, in inches, with one pair of axes."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.add_subplot()


def log_ticks(axis: Axis) -> None:
    """Ticks at 1, 2 and 5, written without exponents."""
    axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axis.set_major_formatter(FuncFormatter(plain_number))
    axis.set_minor_formatter(NullFormatter())


def plain_number(value: float, _position: int | None = None) -> str:
    """A tick label without an exponent."""
    return f"{value:g}" if value < 1e5 else f"{value:,.0f}"


def label_ends(
    figure: Figure, axes: Axes, ends: Iterable[LineEnd], hues: Mapping[str, str]
) -> None:
    """Name lines at their right ends, pushed apart so that no label covers another."""
    axes.margins(x=0.03)
    right = axes.get_xlim()[1]
    figure.draw_without_rendering()
    scale = figure.dpi / 72
    lowest = -1e9
    for x, y, network, title in sorted(ends, key=lambda end: (end.y, end.title)):
        height = axes.transData.transform((x, y))[1] / scale
        lowest = max(height, lowest + 12)
        axes.annotate(
            title, (right, y), (6, lowest - height), textcoords="offset points", fontsize=10,
            color=hues[network], va="center", annotation_clip=False,
            gid=f"{NETWORK}{network}/label",
        )  # fmt: skip
