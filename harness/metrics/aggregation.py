"""From slices to stacks, from stacks to subjects, and to the means of a set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.errors import DataError
from harness.metrics.catalogue import METRICS, Metric, Over, metric_named
from harness.records.schema import SetScores

ROUNDING = 1e-9


def with_brain(slices: pd.DataFrame) -> pd.DataFrame:
    """The rows whose reference holds brain."""
    return slices[slices["brain_pixels"] > 0]


def counted(slices: pd.DataFrame, over: Over) -> pd.DataFrame:
    """The rows that a mean takes: see `harness.metrics.catalogue.Over`."""
    if over == "all":
        return slices
    brain = slices["brain_pixels"] > 0
    # A slice without a prediction, −1, is an alarm too: a failure must never raise a mean.
    return slices[brain if over == "brain" else brain | (slices["predicted_pixels"] != 0)]


def check_values(slices: pd.DataFrame, metric: Metric) -> None:
    """DataError unless each value is possible: a fraction in 0–1, a distance not negative, or NaN.

    The message names the first slice that is not.
    """
    values = slices[metric.name].to_numpy(dtype=np.float64)
    most = 1 + ROUNDING if metric.higher_is_better else np.finfo(np.float64).max
    wrong = ~np.isnan(values) & ~((values >= 0) & (values <= most))
    if wrong.any():
        row = slices.iloc[int(wrong.argmax())]
        kind = "a fraction from 0 to 1" if metric.higher_is_better else "a finite distance in mm"
        raise DataError(
            f"{metric.title} of slice {row['slice']} of {row['stack']} is {row[metric.name]:g}, "
            f"which is not {kind}; evaluate again"
        )


@dataclass(frozen=True)
class Quartiles:
    """Median and quartiles in the metric's unit: what one outlier does not move."""

    median: float
    low: float
    high: float


def quartiles(values: pd.Series) -> Quartiles:
    """Median, 25 % and 75 % of slices' or subjects' values; a NaN makes all three NaN."""
    low, median, high = np.quantile(values.to_numpy(dtype=np.float64), [0.25, 0.5, 0.75])
    return Quartiles(float(median), float(low), float(high))


def stack_means(slices: pd.DataFrame, metric: str, *, over: Over = "brain") -> pd.Series:
    """Mean of `metric` over the slices of each stack; index (subject, stack).

    DataError if a value is missing, since a failed slice must carry its worst value, or impossible.
    """
    rows = counted(slices, over)
    if metric in METRICS:
        check_values(rows, metric_named(metric))
    if rows[metric].isna().any():
        raise DataError(
            f"{int(rows[metric].isna().sum())} slices have no {metric}; "
            "a failed prediction must carry the worst value, so score the slices again"
        )
    return rows.groupby(["subject", "stack"], sort=True)[metric].mean()


def subject_means(slices: pd.DataFrame, metric: str, *, over: Over = "brain") -> pd.Series:
    """Mean over the stacks of each subject of the stacks' means; index subject."""
    return stack_means(slices, metric, over=over).groupby("subject", sort=True).mean()


def volume_dice(slices: pd.DataFrame) -> pd.Series:
    """Dice of each stack's pooled voxels; index (subject, stack).

    The intersection is read back from a slice's Dice and its two pixel counts, where it is exact:
    all slices of a stack share one voxel size. A slice without a prediction adds its brain only.
    """
    predicted = slices["predicted_pixels"].clip(lower=0)
    total = slices["brain_pixels"] + predicted
    pooled = pd.DataFrame(
        {
            "subject": slices["subject"],
            "stack": slices["stack"],
            "both": (slices["dice"] * total / 2).round(),
            "total": total,
        }
    )
    sums = pooled.groupby(["subject", "stack"], sort=True)[["both", "total"]].sum()
    return (2 * sums["both"] / sums["total"]).where(sums["total"] > 0, 1.0).rename("volume_dice")


def summarise(slices: pd.DataFrame) -> SetScores:
    """Means over one set, for the record; rows as slices.parquet holds them.

    DataError where there is no slice with brain, where two sets are mixed or a value is missing.
    """
    if "set" in slices and slices["set"].nunique() > 1:
        raise DataError(f"scores of {sorted(slices['set'].unique())} cannot share one mean")
    brain = with_brain(slices)
    if brain.empty:
        raise DataError("no slice of the set holds brain, so no Dice of the brain can be stated")
    subject_dice = subject_means(slices, "dice")
    cases = slices["case"].value_counts()
    return SetScores(
        slices=len(slices),
        slices_with_brain=len(brain),
        stacks=int(slices["stack"].nunique()),
        subjects=int(slices["subject"].nunique()),
        dice=float(brain["dice"].mean()),
        dice_median=float(brain["dice"].median()),
        iou=float(brain["iou"].mean()),
        dice_all=float(slices["dice"].mean()),
        iou_all=float(slices["iou"].mean()),
        paper_dice=float(slices["paper_dice"].mean()),
        paper_iou=float(slices["paper_iou"].mean()),
        subject_dice=float(subject_dice.mean()),
        missed=int(cases.get("missed", 0)),
        false_alarm=int(cases.get("false_alarm", 0)),
        empty_agreed=int(cases.get("empty_agreed", 0)),
        nsd=float(brain["nsd"].mean()) if "nsd" in brain else None,
        hd95_mm=float(brain["hd95_mm"].mean()) if "hd95_mm" in brain else None,
    )
