"""Ranks, tiers, intervals and pairwise verdicts of a board, by `harness.statistics`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pandas as pd

from harness import registry
from harness.errors import DataError
from harness.leaderboard.board import slice_columns
from harness.leaderboard.board.boards import Board, columns_of
from harness.leaderboard.board.columns import Value
from harness.leaderboard.board.rows import Row
from harness.leaderboard.board.titles import SETS, backend_title
from harness.records.schema import Record
from harness.records.selection import declared, is_scored, slice_table, trainings
from harness.statistics.comparison import Trainings, compare
from harness.statistics.results import Family, Standing
from harness.statistics.spread import variance_split

NEEDED = ("slice", "paper_dice", *slice_columns.COLUMNS)
# Nobody reads a table of all pairs of more networks than this.
MAX_NETWORKS = 40


@dataclass(frozen=True, kw_only=True)
class FamilyView:
    """One family of comparisons: a test set in one backend."""

    backend: str
    backend_title: str
    set_name: str
    family: Family

    @property
    def names(self) -> list[str]:
        """The titles of the networks with scores, best first."""
        return [standing.name for standing in self.family.standings]

    @property
    def absent(self) -> list[str]:
        """Networks that were to be compared but have no scores; they count in the family."""
        paired = {name for pair in self.family.pairs for name in (pair.a, pair.b)}
        return sorted(paired - set(self.names))

    @property
    def compares(self) -> bool:
        """Whether there are two networks to compare."""
        return len(self.family.standings) > 1


@dataclass(frozen=True, kw_only=True)
class Standings:
    """All comparisons of a board; `problem` says why there are none."""

    families: tuple[FamilyView, ...] = ()
    names: dict[str, str] = field(default_factory=dict)
    splits: tuple[str, ...] = ()
    problem: str = ""

    def of(self, set_name: str, backend: str) -> FamilyView | None:
        """The family of a set and backend, if it was compared."""
        for view in self.families:
            if (view.set_name, view.backend) == (set_name, backend):
                return view
        return None

    @property
    def reference(self) -> str:
        """The backend with the most networks; of several, the first in the project's order."""
        largest = max(self.families, key=lambda view: len(view.names), default=None)
        return largest.backend if largest else ""


def with_standings(board: Board) -> tuple[Board, Standings]:
    """The board with ranks, tiers and intervals in its rows, and the comparisons behind them."""
    names = _display_names(board)
    stored = board.stored
    if not any(map(is_scored, stored)):
        return board, Standings(names=names, problem="no record holds scores by slice")
    try:
        slices = slice_table(stored, NEEDED, lambda network: names[network])
        found = slice_columns.slice_values(slices)
        board = replace(board, rows=tuple(_with_slices(row, names, found) for row in board.rows))
        families = {
            backend: [names[network] for network in networks]
            for backend, networks in declared(stored).items()
        }
        trained = trainings(stored, lambda network: names[network])
        standings = _compared(slices, names, families, trained)
    except DataError as error:
        return board, Standings(names=names, problem=str(error))
    if standings.splits and any(_carried(record) for record in board.records):
        carried = (
            "Some weights were trained in one framework and loaded into others: between those the "
            "split reflects arithmetic alone, not training."
        )
        standings = replace(standings, splits=(*standings.splits, carried))
    rows = tuple(_ranked(row, standings) for row in board.rows)
    return replace(board, rows=rows, columns=columns_of(rows)), standings


def _compared(
    slices: pd.DataFrame,
    names: dict[str, str],
    families: dict[str, list[str]],
    trained: Trainings,
) -> Standings:
    """All comparisons of a board; `slices` and `families` name networks by their titles."""
    largest = max(map(len, families.values()))
    if largest > MAX_NETWORKS:
        problem = f"{largest} networks exceed the {MAX_NETWORKS} that are compared pairwise"
        return Standings(names=names, problem=problem)
    compared = [
        compare(slices, "dice", set_name, contestants=families, trainings=trained)
        for set_name in SETS
        if (slices["set"] == set_name).any()
    ]
    frameworks = slices[slices["backend"] != "numpy"]
    split = {c.set: variance_split(frameworks, "dice", set_name=c.set) for c in compared}
    return Standings(
        families=tuple(
            FamilyView(
                backend=family.within,
                backend_title=backend_title(family.within),
                set_name=comparison.set,
                family=family,
            )
            for comparison in compared
            for family in sorted(comparison.families, key=_project_order)
        ),
        names=names,
        splits=tuple(
            f"{set_name.capitalize()} set: {found.sentence}"
            for set_name, found in split.items()
            if found.reason is None
        ),
    )


def _with_slices(row: Row, names: dict[str, str], found: slice_columns.Found) -> Row:
    """The row with the columns that only the table of slices gives."""
    if row.seeds is None:
        return row
    values = {
        f"{set_name}_{column}": value
        for set_name in SETS
        for column, value in found.get((names[row.network], row.backend, set_name), {}).items()
    }
    return replace(row, values=row.values | values)


def _carried(record: Record) -> bool:
    training = record.training
    return training is not None and training.weights_from != record.key.backend


def _project_order(family: Family) -> tuple[int, str]:
    known = list(registry.BACKEND_TITLES)
    name = family.within
    return (known.index(name) if name in known else len(known)), name


def _display_names(board: Board) -> dict[str, str]:
    """Titles by network, made unique if two networks share one."""
    titles = {row.network: row.title for row in board.rows}
    shared = list(titles.values())
    return {
        network: title if shared.count(title) == 1 else f"{title} ({network})"
        for network, title in titles.items()
    }


def _ranked(row: Row, standings: Standings) -> Row:
    values, tiers = dict(row.values), {}
    for set_name in SETS:
        view = standings.of(set_name, row.backend)
        name = standings.names[row.network]
        if view is None or name not in view.names:
            continue
        standing = view.family.standings[view.names.index(name)]
        values |= _standing_values(set_name, standing)
        if view.compares:
            values[f"{set_name}_rank"] = _rank(standing, view)
            tiers[set_name] = ", ".join(map(str, standing.tiers))
    return replace(row, values=values, tiers=tiers)


def _standing_values(set_name: str, standing: Standing) -> dict[str, Value]:
    mean, interval = 100 * standing.mean, standing.interval
    # Student's interval does not know that Dice ends at 0 and 100 %.
    bounds = (max(0, 100 * interval.low), min(100, 100 * interval.high)) if interval else None
    shown = f"{bounds[0]:.1f}–{bounds[1]:.1f}" if bounds else "no interval"
    return {
        f"{set_name}_subject_dice": Value(
            number=mean,
            text=f"{mean:.2f}",
            note=f"95 % confidence interval {shown}",
            interval=bounds,
            below=shown if bounds else "",
        ),
    }


def _rank(standing: Standing, view: FamilyView) -> Value:
    rank = str(standing.rank)
    if standing.rank_low != standing.rank_high:
        rank += f" ({standing.rank_low}–{standing.rank_high})"
    tiers = ", ".join(map(str, standing.tiers))
    return Value(
        number=standing.rank,
        text=rank,
        note=f"among {len(view.names)} networks in {view.backend_title}; first in "
        f"{100 * standing.first_probability:.0f} % of resamples",
        interval=(standing.rank_low, standing.rank_high),
        below=f"{'tiers' if len(standing.tiers) > 1 else 'tier'} {tiers}",
    )
