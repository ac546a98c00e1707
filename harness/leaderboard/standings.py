"""Ranks, tiers, intervals and pairwise verdicts of a board, by `harness.statistics`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

from harness import registry
from harness.errors import DataError
from harness.leaderboard.boards import Board, columns_of
from harness.leaderboard.columns import SETS, Value
from harness.leaderboard.rows import Row, backend_title
from harness.metrics.aggregation import subject_means
from harness.record_schema import Record
from harness.statistics.comparison import compare
from harness.statistics.intervals import resampled_means
from harness.statistics.ranks import RANK_RESAMPLES, competition_ranks
from harness.statistics.results import Comparison, Family, Standing
from harness.statistics.spread import variance_split

NEEDED = ["set", "subject", "stack", "slice", "dice", "paper_dice", "brain_pixels"]
# All pairs of more networks than this would be a table that nobody reads.
MAX_NETWORKS = 40


@dataclass(frozen=True, kw_only=True)
class RankChances:
    """A network's probability of each rank, best first, over resampled subjects."""

    title: str
    chances: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class FamilyView:
    """One family, its networks best first, with the chances of their ranks."""

    backend: str
    backend_title: str
    set_name: str
    family: Family
    chances: tuple[RankChances, ...]

    @property
    def names(self) -> list[str]:
        """The networks by title, best first."""
        return [standing.name for standing in self.family.standings]

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
        """The backend with the most networks; of several, the first of the house."""
        largest = max(self.families, key=lambda view: len(view.names), default=None)
        return largest.backend if largest else ""


def with_standings(board: Board) -> tuple[Board, Standings]:
    """The board with ranks, tiers and intervals in its rows, and what they come from."""
    names = _display_names(board)
    slices = _slices(board, names)
    if slices is None:
        return board, Standings(names=names, problem="no record holds scores by slice")
    largest = slices.groupby("backend")["network"].nunique().max()
    if largest > MAX_NETWORKS:
        problem = f"{largest} networks are more than the {MAX_NETWORKS} that are compared pairwise"
        return board, Standings(names=names, problem=problem)
    try:
        compared = [
            compare(slices, "dice", set_name)
            for set_name in SETS
            if (slices["set"] == set_name).any()
        ]
        families = tuple(
            FamilyView(
                backend=family.within,
                backend_title=backend_title(family.within),
                set_name=comparison.set,
                family=family,
                chances=_chances(slices, comparison, family),
            )
            for comparison in compared
            for family in sorted(comparison.families, key=_house_order)
        )
        frameworks = slices[slices["backend"] != "numpy"]
        split = {c.set: variance_split(frameworks, "dice", set_name=c.set) for c in compared}
        splits = tuple(
            f"{set_name.capitalize()} set: {found.sentence}"
            for set_name, found in split.items()
            if found.reason is None
        )
    except DataError as error:
        return board, Standings(names=names, problem=str(error))
    if splits and any(_carried(record) for record in board.records):
        splits += (
            "Some weights were trained in one framework and carried to others: between those the "
            "split shows arithmetic alone, not training.",
        )
    standings = Standings(families=families, names=names, splits=splits)
    rows = tuple(_ranked(row, standings) for row in board.rows)
    return replace(board, rows=rows, columns=columns_of(rows)), standings


def _carried(record: Record) -> bool:
    training = record.training
    return training is not None and training.weights_from != record.key.backend


def _house_order(family: Family) -> tuple[int, str]:
    known = list(registry.BACKEND_TITLES)
    name = family.within
    return (known.index(name) if name in known else len(known)), name


def _display_names(board: Board) -> dict[str, str]:
    """Titles by network, made unique where two networks share one."""
    titles = {row.network: row.title for row in board.rows}
    shared = list(titles.values())
    return {
        network: title if shared.count(title) == 1 else f"{title} ({network})"
        for network, title in titles.items()
    }


def _slices(board: Board, names: dict[str, str]) -> pd.DataFrame | None:
    """The slice scores of all finished cells, networks under their titles."""
    tables = [
        stored.slices()[NEEDED].assign(**_whose(stored.record, names))
        for cell in board.cells
        for stored in cell.finished
        if "slices.parquet" in stored.record.files
    ]
    return pd.concat(tables, ignore_index=True) if tables else None


def _whose(record: Record, names: dict[str, str]) -> dict[str, str | int]:
    key = record.key
    return {"network": names[key.network], "backend": key.backend, "seed": key.seed}


def _chances(
    slices: pd.DataFrame, comparison: Comparison, family: Family
) -> tuple[RankChances, ...]:
    """How often each network takes each rank when subjects are drawn again."""
    names = [standing.name for standing in family.standings]
    rows = slices[(slices["set"] == comparison.set) & (slices["backend"] == family.within)]
    scores = pd.DataFrame(
        {name: subject_means(own, "dice") for name, own in rows.groupby("network")}
    )[names]
    values = scores.fillna(0).to_numpy(dtype=np.float64)
    ranks = competition_ranks(resampled_means(values, RANK_RESAMPLES, 0))
    shares = [(ranks == place).mean(axis=0) for place in range(1, len(names) + 1)]
    return tuple(
        RankChances(title=name, chances=tuple(float(share[i]) for share in shares))
        for i, name in enumerate(names)
    )


def _ranked(row: Row, standings: Standings) -> Row:
    values = dict(row.values)
    for set_name in SETS:
        view = standings.of(set_name, row.backend)
        name = standings.names[row.network]
        if row.status != "ok" or view is None or name not in view.names:
            continue
        standing = view.family.standings[view.names.index(name)]
        values |= _standing_values(set_name, standing, len(view.names), row)
    return replace(row, values=values)


def _standing_values(
    set_name: str, standing: Standing, networks: int, row: Row
) -> dict[str, Value]:
    mean, interval = 100 * standing.mean, standing.interval
    # Student's interval does not know that Dice ends at 0 and 100 %.
    bounds = (max(0, 100 * interval.low), min(100, 100 * interval.high)) if interval else None
    shown = f"{bounds[0]:.1f}–{bounds[1]:.1f}" if bounds else "no interval"
    dice = row.values[f"{set_name}_dice"]
    tiers = ", ".join(map(str, standing.tiers))
    rank = str(standing.rank)
    if standing.rank_low != standing.rank_high:
        rank += f" ({standing.rank_low}–{standing.rank_high})"
    note = (
        f"among {networks} networks in {row.backend_title}; first in "
        f"{100 * standing.first_probability:.0f} % of resamples"
    )
    values = {
        f"{set_name}_subject_dice": Value(
            number=mean,
            text=f"{mean:.2f}",
            note=f"95 % confidence interval {shown}",
            interval=bounds,
        ),
        f"{set_name}_dice": replace(dice, below=shown if bounds else ""),
    }
    if networks > 1:
        values[f"{set_name}_rank"] = Value(
            number=standing.rank,
            text=rank,
            note=note,
            below=f"{'tiers' if len(standing.tiers) > 1 else 'tier'} {tiers}",
        )
    return values
