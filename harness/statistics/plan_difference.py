"""What an execution plan changes: its masks beside those of the same network in float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.metrics.aggregation import subject_means
from harness.statistics.intervals import Interval, mean_interval
from harness.statistics.paired import why_undefined


@dataclass(frozen=True)
class PlanDifference:
    """Means over subjects of the Dice that ranks (fractions), and their paired difference.

    `interval` is that of the difference, at 95 %; None with a `reason` if it is undefined.
    """

    subjects: int
    dice: float
    reference_dice: float
    difference: float
    interval: Interval | None
    reason: str | None


def plan_difference(own: pd.DataFrame, reference: pd.DataFrame) -> PlanDifference:
    """Compare the scores of one set by subject; rows as slices.parquet holds them.

    Of the Dice that ranks (docs/statistics.md): each false alarm is one more slice with Dice 0, and
    subjects without brain do not count.
    """
    with_brain = reference.loc[reference["brain_pixels"] > 0, "subject"].unique()
    means = [
        subject_means(rows[rows["subject"].isin(with_brain)], "dice", over="alarms")
        for rows in (own, reference)
    ]
    paired = pd.concat(means, axis=1, keys=["own", "reference"]).to_numpy(np.float64)
    differences = paired[:, 0] - paired[:, 1]
    return PlanDifference(
        subjects=len(paired),
        dice=float(paired[:, 0].mean()),
        reference_dice=float(paired[:, 1].mean()),
        difference=float(differences.mean()),
        interval=mean_interval(differences),
        reason=why_undefined(differences),
    )
