"""Lines up the scores of several networks slice by slice, losing none of them.

A network that has no score for a slice that another has, or a NaN, gets the worst value there: a
failure must never raise a mean (design, statistics 3).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.errors import DataError
from harness.metrics.catalogue import Metric, Over
from harness.statistics.paired import Floats

SLICE = ["subject", "stack", "slice"]


@dataclass(frozen=True)
class PairedScores:
    """`slices`: index (set, subject, stack, slice), columns (contestant, seed).

    A NaN stands only for an empty slice that was left empty, if it does not count (over "alarms").
    `imputed` counts, per contestant, the slices that got the worst value over all its seeds.
    """

    slices: pd.DataFrame
    imputed: dict[str, int]

    def by_subject(self) -> pd.DataFrame:
        """Slice → stack → subject means; index subject, columns (contestant, seed)."""
        stacks = self.slices.groupby(["subject", "stack"], sort=True).mean()
        return stacks.groupby("subject", sort=True).mean()


def over_seeds(table: pd.DataFrame) -> pd.DataFrame:
    """Mean over the seeds of each contestant; columns contestant."""
    return table.T.groupby(level=0, sort=True).mean().T


def scores_of(by_subject: pd.DataFrame) -> dict[str, Floats]:
    """The scores (subjects, seeds) of each contestant of `PairedScores.by_subject`, by name."""
    names = by_subject.columns.get_level_values(0).unique()
    return {str(name): by_subject[name].to_numpy(dtype=np.float64) for name in sorted(names)}


def pair_scores(slices: pd.DataFrame, contestant: str, metric: Metric, over: Over) -> PairedScores:
    """Line up `metric`; `contestant` is the column (network or backend) whose values compete.

    `slices` has the columns of slices.parquet, `contestant` and seed, of one family. DataError
    if a slice stands twice for one contestant and seed, or if the references disagree.
    """
    key = ["set", *SLICE]
    brain = slices.groupby(key, sort=True)["brain_pixels"]
    differing = brain.min().ne(brain.max())
    if differing.any():
        first = differing.index[differing.to_numpy()][0]
        raise DataError(
            f"the records disagree over the reference mask of slice {first[3]} of {first[2]}; "
            "they are not of one data set, so evaluate again"
        )
    twice = slices.duplicated([*key, contestant, "seed"])
    if twice.any():
        row = slices[twice].iloc[0]
        raise DataError(
            f"slice {row['slice']} of {row['stack']} stands twice for {row[contestant]} "
            f"with seed {row['seed']}; pass each cell once"
        )
    indexed = slices.set_index([*key, contestant, "seed"])
    wide = indexed[metric.name].unstack([contestant, "seed"])
    wide = wide.sort_index(axis=0).sort_index(axis=1)
    has_brain = brain.max().reindex(wide.index).to_numpy() > 0
    asked = wide if over == "all" else wide[has_brain]
    if over == "brain":
        wide = asked
    if asked.isna().all(axis=None):
        raise DataError(
            f"no slice has a {metric.title}; evaluate again, or compare over all slices"
        )
    gaps = wide.isna().sum().groupby(level=0).sum()
    # The image's diagonal is not in the table; the family's largest distance is what is known.
    worst = metric.worst if metric.worst is not None else float(np.nanmax(wide.to_numpy()))
    imputed = {str(name): int(count) for name, count in gaps.items() if count}
    filled = wide.fillna(worst)
    if over == "alarms":
        filled = _without_agreed(filled, indexed, contestant, has_brain)
    return PairedScores(filled, imputed)


def _without_agreed(
    filled: pd.DataFrame, indexed: pd.DataFrame, contestant: str, has_brain: np.ndarray
) -> pd.DataFrame:
    """NaN for each empty slice that was left empty, of the subjects that have brain at all."""
    predicted = indexed["predicted_pixels"].unstack([contestant, "seed"])
    predicted = predicted.reindex(index=filled.index, columns=filled.columns)
    kept = filled.where(has_brain[:, None] | (predicted != 0))
    with_brain = set(filled.index[has_brain].get_level_values("subject"))
    return kept[kept.index.get_level_values("subject").isin(with_brain)]
