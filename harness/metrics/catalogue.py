"""The metrics by name: what each is called, which way is better, and over which slices it is meant.

The names are the columns of a cell's slices.parquet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import UsageError

Over = Literal["brain", "all"]


@dataclass(frozen=True)
class Metric:
    """One column of the slice table.

    `margin` is the half-width of "equivalent" in the metric's own unit, None where no margin was
    agreed on; `over` says which slices its mean takes: those with brain in the reference, or all.
    """

    name: str
    title: str
    higher_is_better: bool
    margin: float | None
    over: Over

    @property
    def worst(self) -> float | None:
        """The value of a failed prediction; None for a distance (image diagonal)."""
        return 0.0 if self.higher_is_better else None

    def text(self, value: float, *, signed: bool = False) -> str:
        """`value` as a reader expects it: fractions in points (0–100), distances in mm."""
        sign = "+" if signed else ""
        if self.higher_is_better:
            return f"{100 * value:{sign}.2f} points"
        return f"{value:{sign}.2f} mm"


# ±0.5 points of Dice is the equivalence margin (design, statistics 8); the other fractions take
# the same half point, HD95 none, since nobody has said how many mm do not matter.
HALF_A_POINT = 0.005

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("dice", "Dice", True, HALF_A_POINT, "brain"),
        Metric("iou", "IoU", True, HALF_A_POINT, "brain"),
        Metric("paper_dice", "Dice (paper's convention)", True, HALF_A_POINT, "all"),
        Metric("paper_iou", "IoU (paper's convention)", True, HALF_A_POINT, "all"),
        Metric("nsd", "NSD", True, HALF_A_POINT, "brain"),
        Metric("hd95_mm", "HD95", False, None, "brain"),
        Metric("precision", "precision", True, HALF_A_POINT, "brain"),
        Metric("recall", "recall", True, HALF_A_POINT, "brain"),
    )
}


def metric_named(name: str) -> Metric:
    """The metric of that column name; UsageError naming the known ones otherwise."""
    if name not in METRICS:
        raise UsageError(f"there is no metric {name!r}; choose one of {', '.join(METRICS)}")
    return METRICS[name]
