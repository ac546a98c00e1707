"""From numbers to a verdict and its reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np

from harness.metrics.catalogue import Metric
from harness.statistics.guard import Guard
from harness.statistics.hierarchy import ENOUGH_SEEDS
from harness.statistics.intervals import Interval
from harness.statistics.multiplicity import DesignLimit
from harness.statistics.paired import Floats

Verdict = Literal["better", "worse", "equivalent", "undecided", "undefined"]

OPPOSITE: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}

FAR_MARGINS = 10
"""A subject that differs by more margins than this is "far outside": 5 points of Dice"""


class Training(Protocol):
    """How a contestant was trained; a record's training is one."""

    @property
    def epochs(self) -> int:
        """Times that it saw all training slices."""
        ...

    @property
    def steps(self) -> int:
        """Steps of the optimiser."""
        ...

    @property
    def precision(self) -> str:
        """What its products were computed in."""
        ...


@dataclass(frozen=True)
class Decision:
    """A verdict about the first of a pair, why, and what a reader should know beside it."""

    verdict: Verdict
    reason: str
    caveats: tuple[str, ...] = ()


def p_text(p: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def inside_margin(interval: Interval | None, margin: float | None) -> bool:
    """Whether the whole interval lies within ±margin."""
    if interval is None or margin is None:
        return False
    return -margin <= interval.low and interval.high <= margin


def unequal_training(trainings: Mapping[str, Training | None]) -> str | None:
    """How the trainings of two contestants differ, or None if they do not or are not known.

    Equal means the same epochs, the same steps and the same precision.
    """
    known = {
        name: (training.epochs, training.steps, training.precision)
        for name, training in trainings.items()
        if training
    }
    if len(known) < 2 or len(set(known.values())) == 1:
        return None
    precisions = len({precision for _, _, precision in known.values()}) > 1
    shown = (
        f"{name} {epochs} epoch{'' if epochs == 1 else 's'}, {steps:,} steps"
        + (f" in {precision}" if precisions else "")
        for name, (epochs, steps, precision) in known.items()
    )
    return f"their trainings were not equal ({'; '.join(shown)})"


def decide(
    differences: Floats,
    p_holm: float,
    adjusted: Interval | None,
    metric: Metric,
    design: DesignLimit,
    guard: Guard,
    unequal: str | None,
    seeds: tuple[int, int],
) -> Decision:
    """The verdict about `a` from the subjects' differences a − b (subjects,), in the metric's unit.

    `p_holm` is Holm's p of the rule, `adjusted` the interval adjusted for the family, `unequal`
    says how the trainings differ and `seeds` how many there are of each.
    """
    mean = float(differences.mean())
    caveats = () if min(seeds) >= ENOUGH_SEEDS else (_few_seeds(seeds),)
    adjusted_p = p_text(p_holm)
    if design.family_size > 1:
        adjusted_p += f" after Holm's adjustment over {design.family_size} comparisons"
    significant = p_holm <= design.alpha and not design.limited
    if significant and unequal:
        reason = f"a difference is there ({adjusted_p}), but {unequal}"
        return Decision("undecided", reason, caveats)
    if significant and abs(mean) > guard.least:
        ahead = (mean > 0) == metric.higher_is_better
        return Decision("better" if ahead else "worse", adjusted_p, caveats)
    hindrance = _not_equivalent(differences, adjusted, metric, design)
    if hindrance is None:
        if unequal:
            return Decision("undecided", f"they would be equivalent, but {unequal}", caveats)
        text = "the whole interval, adjusted for the family, lies inside the margin of equivalence"
        return Decision("equivalent", text, caveats)
    if significant:
        return Decision("undecided", f"{adjusted_p}, but {_undone(guard, metric, design)}", caveats)
    if design.sentence:
        return Decision("undecided", design.sentence, caveats)
    return Decision("undecided", adjusted_p + (f", and {hindrance}" if hindrance else ""), caveats)


def _few_seeds(seeds: tuple[int, int]) -> str:
    if seeds == (1, 1):
        return "one training of each, so that the difference may be the training's"
    return f"{seeds[0]} and {seeds[1]} trainings, too few to tell a training from a network"


def _undone(guard: Guard, metric: Metric, design: DesignLimit) -> str:
    """Why the guard does not let a significant difference pass."""
    return (
        f"{design.subjects} subjects cannot exclude that {100 * guard.share:.1f} % of all fail, "
        f"and failures of {metric.text(guard.loss)} in so many would undo a difference of up to "
        f"{metric.text(guard.least)}"
    )


def _not_equivalent(
    differences: Floats, adjusted: Interval | None, metric: Metric, design: DesignLimit
) -> str | None:
    """What stands against calling a pair equivalent; "" if the metric has no margin."""
    if metric.margin is None:
        return ""
    if not inside_margin(adjusted, metric.margin):
        return "the interval adjusted for the family reaches beyond the margin of equivalence"
    if design.subjects < design.equivalence_subjects:
        return (
            f"equivalence takes at least {design.equivalence_subjects} subjects, since fewer may "
            "not show failures in 5 % of all"
        )
    far = int(np.count_nonzero(np.abs(differences) > FAR_MARGINS * metric.margin))
    if far:
        differ = "subject differs" if far == 1 else "subjects differ"
        return f"{far} {differ} by more than {metric.text(FAR_MARGINS * metric.margin)}"
    return None
