"""Figures of how the weights came about and what memory they take."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.cells import backend_title
from harness.leaderboard.board.columns import Column
from harness.leaderboard.board.rows import Row
from harness.leaderboard.figures import palette
from harness.leaderboard.figures.latency_dice import Drawing, label_ends
from harness.leaderboard.figures.svg import NETWORK, style, to_svg
from harness.records.store import StoredRecord

PANELS = (
    ("train_loss", "Training loss", 1.0),
    ("validation_dice", "Validation Dice, %", 100.0),
)
# More lines than this say nothing; the best networks of the board are drawn.
MAX_LINES = 25


def training_curves(board: Board) -> list[Drawing]:
    """Loss and validation Dice by epoch: one drawing a backend that trained weights itself."""
    trained: dict[str, dict[str, StoredRecord]] = {}
    networks = list(dict.fromkeys(row.network for row in board.rows))[:MAX_LINES]
    for cell in board.cells:
        for stored in cell.scored:
            training = stored.record.training
            own = training is not None and training.weights_from == cell.backend
            if own and cell.network in networks and "history.parquet" in stored.record.files:
                trained.setdefault(cell.backend, {}).setdefault(cell.network, stored)
    drawings = []
    for backend, found in trained.items():
        for quantity, label, scale in PANELS:
            title = f"{label.split(',')[0]} by epoch, trained in {backend_title(backend)}"
            caption = "The lowest seed of each network; the best validation weights are kept."

            def draw(found=found, quantity=quantity, label=label, scale=scale) -> Figure:
                return _curves(board, found, quantity, label, scale)

            name = f"training-{quantity.replace('_', '-')}-{backend}"
            svg = to_svg(draw(), f"{board.id}-{name}", f"{title}. {caption}")
            drawings.append(Drawing(name=name, title=title, caption=caption, svg=svg, draw=draw))
    return drawings


def _curves(
    board: Board, found: dict[str, StoredRecord], quantity: str, label: str, scale: float
) -> Figure:
    hues = palette.hues(cell.network for cell in board.cells)
    with style():
        figure = Figure(figsize=(6.4, 3.9), layout="constrained")
        axes = figure.add_subplot()
        ends = []
        for network, stored in found.items():
            history = stored.history()
            values = scale * history[quantity]
            gid = f"{NETWORK}{network}/line"
            axes.plot(history["epoch"], values, color=hues[network], linewidth=1.4, gid=gid)
            end = float(history["epoch"].iloc[-1]), float(values.iloc[-1])
            ends.append((*end, network, stored.record.title))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("Epoch")
        axes.set_ylabel(label)
        label_ends(figure, axes, ends, hues)
    return figure


def memory_bars(board: Board) -> list[Drawing]:
    """The memory quantity that the table shows, a bar for each row that knows it."""
    column = next((c for c in board.columns if c.key.endswith("_mib") and c.shown), None)
    if column is None:
        return []
    rows = [row for row in board.rows if _mib(row, column) is not None][:MAX_LINES]
    title = f"Memory: {column.title[0].lower()}{column.title[1:]}"
    caption = "One bar a network and backend, in the order of the leaderboard. Lower is better."

    def draw() -> Figure:
        return _bars(board, rows, column)

    svg = to_svg(draw(), f"{board.id}-memory", f"{title}. {caption}")
    return [Drawing(name="memory", title=title, caption=caption, svg=svg, draw=draw)]


def _mib(row: Row, column: Column) -> float | None:
    value = row.values.get(column.key)
    return value.number if value else None


def _bars(board: Board, rows: list[Row], column: Column) -> Figure:
    hues = palette.hues(cell.network for cell in board.cells)
    with style():
        figure = Figure(figsize=(6.4, 0.8 + 0.21 * len(rows)), layout="constrained")
        axes = figure.add_subplot()
        labels = [f"{row.title} · {row.backend_title.split(' (')[0]}" for row in rows]
        for place, row in enumerate(rows):
            gid = f"{NETWORK}{row.network}/bar"
            (bar,) = axes.barh(place, _mib(row, column) or 0, 0.68, color=hues[row.network])
            bar.set_gid(gid)
        axes.set_yticks(range(len(rows)), labels)
        axes.invert_yaxis()
        axes.grid(visible=False, axis="y")
        axes.margins(y=0.01)
        axes.set_xlabel("MiB")
    return figure
