"""The accuracy of an execution plan: from the scores of its masks to the entry of a record.

A plan in reduced precision, quantised or compiled gives other masks than the evaluation in float64.
As in MLPerf's accuracy run, what is timed is scored itself, on the whole test sets (measuring, 12).
"""

from __future__ import annotations

import pandas as pd

from harness.records.schema import PlanSetScores
from harness.statistics.plan_difference import plan_difference

# What plan_slices.parquet has beside the columns of slices.parquet.
PLAN_COLUMNS = ("plan", "precision", "changed_pixels", "pixels")


def set_scores(own: pd.DataFrame, reference: pd.DataFrame) -> dict[str, PlanSetScores]:
    """The scores of one plan by set, from its rows of plan_slices.parquet and slices.parquet."""
    found = {}
    for name, rows in own.groupby("set", sort=False):
        compared = plan_difference(rows, reference[reference["set"] == name])
        interval = compared.interval
        found[str(name)] = PlanSetScores(
            slices=len(rows),
            subjects=compared.subjects,
            dice=compared.dice,
            reference_dice=compared.reference_dice,
            difference=compared.difference,
            difference_low=interval.low if interval else None,
            difference_high=interval.high if interval else None,
            difference_reason=compared.reason,
            changed_share=float(rows["changed_pixels"].sum() / rows["pixels"].sum()),
        )
    return found
