"""What the page shows of a board: everything that the templates read, worked out beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.columns import Column
from harness.leaderboard.board.network_lines import NetworkLine, network_lines
from harness.leaderboard.board.races import Race, races, with_intervals
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.standings import Standings, with_standings
from harness.leaderboard.board.titles import PLAN_TITLES, QUANTITY_TITLES, backend_title
from harness.leaderboard.claims.catalogue import claims
from harness.leaderboard.claims.claim import Claim
from harness.leaderboard.claims.conditions import Conditions, conditions
from harness.leaderboard.claims.headline import Headline, chosen_row, headline
from harness.leaderboard.claims.scanner import Scanner, scanner
from harness.leaderboard.details import Environment, RowDetails, details, environments
from harness.leaderboard.figures.batch_sweep import batch_sweep
from harness.leaderboard.figures.drawing import Drawing
from harness.leaderboard.figures.heatmaps import heat_maps
from harness.leaderboard.figures.latency_dice import latency_versus_dice
from harness.leaderboard.figures.memory_bars import memory_bars
from harness.leaderboard.figures.overlays import Overlays, overlays
from harness.leaderboard.figures.robustness import robustness
from harness.leaderboard.figures.subjects import subjects
from harness.leaderboard.figures.training_curves import training_curves
from harness.leaderboard.run_facts import WhatWasRun, what_was_run


@dataclass(frozen=True, kw_only=True)
class Extent:
    """How much of a board the page shows, besides its table.

    With `brief`, records are linked but not described. Without `whole`, figures become links and
    only the reference backend is compared. Without `figures`, no figures are made at all.
    """

    brief: bool = False
    whole: bool = True
    figures: bool = True


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The figures of a board: `drawings` on the page, `beside` as files, and the overlays."""

    drawings: tuple[Drawing, ...] = ()
    beside: tuple[Drawing, ...] = ()
    overlays: Overlays | None = None


@dataclass(frozen=True, kw_only=True)
class BoardView:
    """A board and everything that the page says of it.

    `lines` are the networks of the table, `columns` its columns in the order of the page, and
    `stamp` is that of every latency, if they share one. `network_of` and `row_of` lead from the
    title of a network (and a backend) in the standings to its key and its row; `reasons` numbers
    the reasons for missing values; `best` is the best number of each column that one network's line
    alone holds.
    """

    board: Board
    extent: Extent
    standings: Standings
    headline: Headline
    claims: list[Claim]
    races: list[Race]
    scanner: Scanner
    lines: tuple[NetworkLine, ...]
    columns: tuple[Column, ...]
    conditions: Conditions
    stamp: str
    pictures: Pictures
    details: list[RowDetails]
    environments: list[Environment]
    run: WhatWasRun
    reasons: dict[str, int]
    best: dict[str, float]
    network_of: dict[str, str]
    row_of: dict[tuple[str, str], Row]

    @property
    def quantity_title(self) -> str:
        """What the latency is called that the board speaks of."""
        quantity = self.board.timed_quantity
        return QUANTITY_TITLES[quantity] if quantity else ""

    @property
    def plans(self) -> list[tuple[str, str]]:
        """The plans of the board that the glossary explains."""
        found = dict.fromkeys(row.plan for row in self.board.rows)
        return [(plan, PLAN_TITLES[plan]) for plan in found if plan in PLAN_TITLES]

    @property
    def reference_title(self) -> str:
        """The backend with the most networks."""
        return backend_title(self.standings.reference)


def view_of(plain: Board, results: Path, extent: Extent) -> BoardView:
    """The view of a board as `build_boards` made it; figures are drawn when they are asked for."""
    board, standings = with_standings(with_intervals(plain))
    found = environments(board)
    names = standings.names
    lines = network_lines(board, standings.reference)
    return BoardView(
        board=board,
        extent=extent,
        standings=standings,
        headline=headline(board, standings),
        claims=claims(board, standings),
        races=races(board),
        scanner=scanner(board),
        lines=lines,
        columns=_columns(board),
        conditions=conditions(board, chosen_row(board)),
        stamp=_stamp(board),
        pictures=_pictures(board, standings, extent),
        details=details(board, found, results, brief=extent.brief),
        environments=list(found.values()),
        run=what_was_run(board),
        reasons=_reasons(board),
        best=_best(board, lines),
        network_of={name: network for network, name in names.items()},
        row_of={(names[row.network], row.backend): row for row in reversed(board.rows)},
    )


def _pictures(board: Board, standings: Standings, extent: Extent) -> Pictures:
    if not extent.figures:
        return Pictures()
    if not extent.whole:
        return Pictures(drawings=tuple(latency_versus_dice(board)))
    drawings = [
        *latency_versus_dice(board),
        *subjects(board, standings),
        *batch_sweep(board),
        *memory_bars(board),
        *training_curves(board),
        *robustness(board),
    ]
    return Pictures(
        drawings=tuple(drawings),
        beside=tuple(heat_maps(board, standings)),
        overlays=overlays(board),
    )


def _reasons(board: Board) -> dict[str, int]:
    """The reasons for missing values, numbered for the marks beside them.

    A tooltip alone would need a mouse; keyboards, fingers and paper have none.
    """
    notes = [
        value.note
        for row in board.rows
        for column in board.columns
        if (value := row.values.get(column.key)) and value.number is None
        if value.note and value.note not in row.reason
    ]
    return {note: number for number, note in enumerate(dict.fromkeys(notes), 1)}


def _columns(board: Board) -> tuple[Column, ...]:
    """The columns that are shown at first, then the others: the table begins with the answer."""
    return (*(c for c in board.columns if c.shown), *(c for c in board.columns if not c.shown))


def _stamp(board: Board) -> str:
    """The stamp that all latencies of the board share, so that it is said once."""
    quantity = board.timed_quantity
    stamps = {r.stamp for r in board.rows if r.number(f"{quantity}_p50_ms") is not None}
    return stamps.pop() if len(stamps) == 1 else ""


def _best(board: Board, lines: tuple[NetworkLine, ...]) -> dict[str, float]:
    """The best number of each column with a direction, if one network's line alone holds it."""
    best = {}
    for column in board.columns:
        found = [
            (number, line.network)
            for line in lines
            if column.better and (number := line.number(column.key)) is not None
        ]
        numbers = {number for number, _ in found}
        if len(numbers) < 2:
            continue
        top = max(numbers) if column.better == "higher" else min(numbers)
        if len({network for number, network in found if number == top}) == 1:
            best[column.key] = top
    return best
