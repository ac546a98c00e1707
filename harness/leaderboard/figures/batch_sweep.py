"""Fig. 4 of the paper: time per slice against batch size, with gaps where a batch failed."""

from __future__ import annotations

from math import isnan, nan

from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.cells import STATUS_TITLES
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.timings import timed
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.latency_dice import (
    QUANTITY_TITLES,
    Drawing,
    label_ends,
    log_ticks,
    timed_quantity,
)
from harness.leaderboard.figures.svg import NETWORK, style, to_svg
from harness.records.schema import Latency


def batch_sweep(board: Board) -> list[Drawing]:
    """Fig. 4: per-image time against batch size, one drawing a backend and plan.

    A batch size that has no valid latency is a gap in its line, with a cross at the last before it.
    """
    quantity = timed_quantity(board)
    plans: dict[tuple[str, str, str], list[Row]] = {}
    for row in board.rows:
        if row.cell and len(timed(row.cell, row.plan, row.precision, quantity)) > 1:
            plans.setdefault((row.backend, row.plan, row.precision), []).append(row)
    drawings = []
    for (backend, plan, precision), rows in sorted(plans.items()):
        title = f"Time per slice and batch size, {rows[0].backend_title} ({plan}, {precision})"
        gaps = [
            f"{row.title} at batch {batch} ({STATUS_TITLES[entry.status]})"
            for row in rows
            for batch, entry in _failures(row, quantity)
        ]
        caption = f"Median {QUANTITY_TITLES[quantity]} time divided by the batch size. " + (
            f"Gaps, after a cross: {'; '.join(gaps)}." if gaps else "No batch size failed."
        )

        def draw(rows=rows) -> Figure:
            return _sweep(board, rows, quantity)

        name = f"batch-sweep-{backend}-{plan}-{precision}"
        svg = to_svg(draw(), f"{board.id}-{name}", f"{title}. {caption}")
        drawings.append(Drawing(name=name, title=title, caption=caption, svg=svg, draw=draw))
    return drawings


def _failures(row: Row, quantity: str) -> list[tuple[int, Latency]]:
    assert row.cell is not None
    entries = timed(row.cell, row.plan, row.precision, quantity)
    return [(batch, entry) for batch, entry in sorted(entries.items()) if entry.status != "ok"]


def _per_slice(batch: int, entry: Latency) -> float:
    """Milliseconds a slice, NaN (a gap in a line) where the batch size has no valid median."""
    return entry.median_ms / batch if entry.status == "ok" and entry.median_ms else nan


def _sweep(board: Board, rows: list[Row], quantity: str) -> Figure:
    hues = palette.hues(cell.network for cell in board.cells)
    with style():
        figure = Figure(figsize=(6.4, 4.6), layout="constrained")
        axes = figure.add_subplot()
        ends: list[tuple[float, float, Row]] = []
        batches: set[int] = set()
        for row in rows:
            assert row.cell is not None
            entries = sorted(timed(row.cell, row.plan, row.precision, quantity).items())
            batches |= {batch for batch, _ in entries}
            x = [batch for batch, _ in entries]
            y = [_per_slice(batch, entry) for batch, entry in entries]
            known = [place for place, value in enumerate(y) if not isnan(value)]
            if not known:
                continue
            gid = f"{NETWORK}{row.network}/line"
            axes.plot(x, y, color=hues[row.network], marker="o", markersize=4, gid=gid)
            # A cross at the last batch size that ran before each gap.
            last = [place for place in known if place + 1 < len(y) and isnan(y[place + 1])]
            axes.plot(
                [x[place] for place in last], [y[place] for place in last], "x",
                color=hues[row.network], markersize=10, mew=2, gid=f"{NETWORK}{row.network}/gaps",
            )  # fmt: skip
            ends.append((x[known[-1]], y[known[-1]], row))
        axes.set_xscale("log", base=2)
        axes.set_yscale("log")
        axes.set_xticks(sorted(batches), [str(batch) for batch in sorted(batches)])
        axes.xaxis.set_minor_formatter(NullFormatter())
        log_ticks(axes.yaxis)
        axes.set_xlabel("Batch size")
        axes.set_ylabel("ms per slice (logarithmic)")
        label_ends(figure, axes, [(x, y, row.network, row.title) for x, y, row in ends], hues)
    return figure
