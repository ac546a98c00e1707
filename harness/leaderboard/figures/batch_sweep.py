"""Fig. 4 of the paper: time per slice against batch size, with gaps if a batch failed."""

from __future__ import annotations

from functools import partial
from math import isnan, nan

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.timings import Quantity
from harness.leaderboard.board.titles import QUANTITY_TITLES, STATUS_TITLES
from harness.leaderboard.figures.drawing import (
    Drawing,
    LineEnd,
    hues_of,
    label_ends,
    log_ticks,
    new_axes,
)
from harness.leaderboard.figures.svg import NETWORK, style
from harness.records.schema import Latency


def batch_sweep(board: Board) -> list[Drawing]:
    """Fig. 4: time per slice against batch size, one drawing per backend and plan.

    A batch size without a valid latency is a gap in its line, with a cross at the last one before.
    """
    quantity = board.timed_quantity
    if quantity is None:
        return []
    plans: dict[tuple[str, str, str], list[Row]] = {}
    for row in board.rows:
        if len(row.latencies(quantity)) > 1:
            plans.setdefault((row.backend, row.plan, row.precision), []).append(row)
    return [
        Drawing(
            name=f"batch-sweep-{backend}-{plan}-{precision}",
            title=f"Time per slice and batch size, {rows[0].backend_title} ({plan}, {precision})",
            caption=_caption(rows, quantity),
            board_id=board.id,
            draw=partial(_sweep, board, rows, quantity),
        )
        for (backend, plan, precision), rows in sorted(plans.items())
    ]


def _caption(rows: list[Row], quantity: Quantity) -> str:
    gaps = [
        f"{row.title} at batch {batch} ({STATUS_TITLES[entry.status]})"
        for row in rows
        for batch, entry in sorted(row.latencies(quantity).items())
        if entry.status != "ok"
    ]
    return f"Median {QUANTITY_TITLES[quantity]} time divided by the batch size. " + (
        f"Gaps, after a cross: {'; '.join(gaps)}." if gaps else "No batch size failed."
    )


def _per_slice(batch: int, entry: Latency) -> float:
    """Milliseconds per slice; NaN (a gap in a line) if the batch size has no valid median."""
    return entry.median_ms / batch if entry.status == "ok" and entry.median_ms else nan


def _sweep(board: Board, rows: list[Row], quantity: Quantity) -> Figure:
    hues = hues_of(board)
    batches = sorted({batch for row in rows for batch in row.latencies(quantity)})
    with style():
        figure, axes = new_axes(6.4, 4.6)
        ends = [end for row in rows if (end := _line(axes, row, quantity, hues[row.network]))]
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(batches, [str(batch) for batch in batches])
        axes.xaxis.set_minor_formatter(NullFormatter())
        log_ticks(axes.yaxis)
        axes.set_xlabel("Batch size")
        axes.set_ylabel("ms per slice (logarithmic)")
        label_ends(figure, axes, ends, hues)
    return figure


def _line(axes: Axes, row: Row, quantity: Quantity, color: str) -> LineEnd | None:
    """Plot a row and return the end of its line; None if no batch size has a valid latency."""
    entries = sorted(row.latencies(quantity).items())
    x = [batch for batch, _ in entries]
    y = [_per_slice(batch, entry) for batch, entry in entries]
    known = [place for place, value in enumerate(y) if not isnan(value)]
    if not known:
        return None
    axes.plot(x, y, color=color, marker="o", markersize=4, gid=f"{NETWORK}{row.network}/line")
    # A cross at the last batch size that ran before each gap.
    last = [place for place in known if place + 1 < len(y) and isnan(y[place + 1])]
    axes.plot(
        [x[place] for place in last], [y[place] for place in last], "x",
        color=color, markersize=10, mew=2, gid=f"{NETWORK}{row.network}/gaps",
    )  # fmt: skip
    return LineEnd(x[known[-1]], y[known[-1]], row.network, row.title)
