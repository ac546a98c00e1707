"""Is there brain in this slice? Sensitivity and specificity by slice, with exact intervals."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd

from harness.errors import DataError
from harness.statistics.proportions import Proportion, proportion


@dataclass(frozen=True)
class Detection:
    """Of one network on one set: does it mark something where there is brain, and only there?

    `sensitivity` is over slices with brain, `specificity` over empty ones; None if there is none.
    A mask anywhere in the slice counts as "brain found": where it lies is what Dice says. A slice
    without a prediction is missed, or a false alarm. `clean_subjects` counts those subjects with
    empty slices in which none of them raised an alarm: the slices of a subject resemble each other,
    so that this interval, and not the one by slice, speaks of the next subject.
    """

    sensitivity: Proportion | None
    specificity: Proportion | None
    clean_subjects: Proportion | None


def detection(slices: pd.DataFrame, *, level: float = 0.95) -> Detection:
    """Detection by slice; rows as slices.parquet holds them, of one network and set.

    With several seeds (a column seed) the counts are means over the seeds, so that the same slices
    are not counted twice. DataError if there is no slice, or if two networks or sets are mixed.
    """
    for column in ("network", "backend", "set"):
        if column in slices and slices[column].nunique() > 1:
            names = ", ".join(sorted(map(str, slices[column].unique())))
            raise DataError(
                f"the slices of {names} cannot share one sensitivity; pass one {column}"
            )
    if slices.empty:
        raise DataError("there is no slice to detect a brain in")
    seeds = slices["seed"].nunique() if "seed" in slices else 1
    brain = slices[slices["brain_pixels"] > 0]
    empty = slices[slices["brain_pixels"] == 0]
    alarmed = empty["predicted_pixels"].fillna(-1) != 0
    found = brain["predicted_pixels"].fillna(-1) > 0
    by_subject = alarmed.groupby([empty["subject"], *_seed(empty)], sort=True).any()
    return Detection(
        _share(int(found.sum()), len(brain), seeds, level),
        _share(int((~alarmed).sum()), len(empty), seeds, level),
        _share(int((~by_subject).sum()), len(by_subject), seeds, level),
    )


def _seed(rows: pd.DataFrame) -> list[pd.Series]:
    return [rows["seed"]] if "seed" in rows else []


def _share(hits: int, count: int, seeds: int, level: float) -> Proportion | None:
    return proportion(hits / seeds, count / seeds, level=level) if count else None
