"""The metrics by name: what each is called, which way is better, and over which slices it is meant.

The names are the columns of a cell's slices.parquet.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from harness.errors import UsageError

Over = Literal["brain", "alarms", "all"]
"""Which slices a mean takes: those with brain; these and the false alarms; or all.

`alarms` is what ranks. A false alarm counts as one more slice with the worst value; an empty slice
that was left empty counts for nothing. So marking brain where there is none always costs, and a
scan with many empty slices makes no network look better.
"""

# A subject on which a network fails loses about this much: what the guard of the verdicts assumes.
FAILURE_LOSS = 0.30


@dataclass(frozen=True)
class Metric:
    """One column of the slice table.

    `margin` is the half-width of "equivalent" in the metric's own unit, None if no margin was
    agreed on; `over` says which slices its mean takes. `failure_loss` is what a failed subject is
    taken to lose at least, in the metric's unit; None if only the data can say it.
    """

    name: str
    title: str
    higher_is_better: bool
    margin: float | None
    over: Over
    failure_loss: float | None = None

    @property
    def largest_margin(self) -> float:
        """The widest margin of equivalence that still means something: 5 points, or 5 mm."""
        return 0.05 if self.higher_is_better else 5.0

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
        Metric("dice", "Dice", True, HALF_A_POINT, "alarms", FAILURE_LOSS),
        Metric("iou", "IoU", True, HALF_A_POINT, "alarms", FAILURE_LOSS),
        Metric("paper_dice", "Dice (paper's convention)", True, HALF_A_POINT, "all", FAILURE_LOSS),
        Metric("paper_iou", "IoU (paper's convention)", True, HALF_A_POINT, "all", FAILURE_LOSS),
        Metric("nsd", "NSD", True, HALF_A_POINT, "alarms", FAILURE_LOSS),
        Metric("hd95_mm", "HD95", False, None, "alarms"),
        Metric("precision", "precision", True, HALF_A_POINT, "alarms", FAILURE_LOSS),
        # An empty slice has no brain to recall.
        Metric("recall", "recall", True, HALF_A_POINT, "brain", FAILURE_LOSS),
    )
}


def metric_named(name: str) -> Metric:
    """The metric of that column name; UsageError naming the known ones otherwise."""
    if name not in METRICS:
        raise UsageError(f"there is no metric {name!r}; choose one of {', '.join(METRICS)}")
    return METRICS[name]
