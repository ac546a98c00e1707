"""The memory quantity that the table shows, as bars."""

from __future__ import annotations

from functools import partial

from matplotlib.figure import Figure

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.network_lines import network_lines
from harness.leaderboard.board.rows import Row
from harness.leaderboard.figures.drawing import MAX_LINES, Drawing, hues_of, new_axes
from harness.leaderboard.figures.svg import NETWORK, style


def memory_bars(board: Board) -> list[Drawing]:
    """One bar per network whose memory is known, under the plan of its line in the table."""
    column = board.memory_column
    if column is None:
        return []
    lines = network_lines(board, "")
    known = [
        (line.shown, mib) for line in lines if (mib := line.shown.number(column.key)) is not None
    ]
    left_out = len(known) - len(known[:MAX_LINES])
    more = f" {left_out} more networks are in the table." if left_out else ""
    return [
        Drawing(
            name="memory",
            title=f"Memory: {column.title[0].lower()}{column.title[1:]}",
            caption="One bar per network, in the order of the leaderboard, under the plan that the "
            f"table shows; the table holds the other builds. Lower is better.{more}",
            board_id=board.id,
            draw=partial(_bars, board, known[:MAX_LINES]),
        )
    ]


def _bars(board: Board, known: list[tuple[Row, float]]) -> Figure:
    hues = hues_of(board)
    with style():
        figure, axes = new_axes(6.4, 0.8 + 0.21 * len(known))
        for place, (row, mib) in enumerate(known):
            (bar,) = axes.barh(place, mib, 0.68, color=hues[row.network])
            bar.set_gid(f"{NETWORK}{row.network}/bar")
        labels = [
            f"{row.title} · {row.backend_title.split(' (')[0]} {row.plan}" for row, _ in known
        ]
        axes.set_yticks(range(len(known)), labels)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(y=0.01)
        axes.set_xlabel("MiB")
    return figure
