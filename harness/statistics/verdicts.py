"""From numbers to a verdict and a sentence that a clinician can read."""

from __future__ import annotations

from typing import Literal

from harness.metrics.catalogue import Metric
from harness.statistics.intervals import Interval
from harness.statistics.multiplicity import DesignLimit

Verdict = Literal["better", "worse", "equivalent", "undecided", "undefined"]

OPPOSITE: dict[Verdict, Verdict] = {"better": "worse", "worse": "better"}


def p_text(p: float) -> str:
    """`p = 0.012`, or `p < 0.001`."""
    return "p < 0.001" if p < 0.001 else f"p = {p:.3f}"


def inside_margin(interval: Interval | None, margin: float | None) -> bool:
    """Whether the whole interval lies within ±margin."""
    if interval is None or margin is None:
        return False
    return -margin <= interval.low and interval.high <= margin


def verdict_of(
    gain: float,
    p_holm: float,
    interval: Interval | None,
    margin: float | None,
    design: DesignLimit,
) -> tuple[Verdict, str]:
    """The verdict and its reason; `gain` is positive where the first of the pair is the better.

    "Better" and "worse" need Holm's p at or below alpha, and a design in which the sign-flip test,
    which assumes no distribution, could have reached it too.
    """
    adjusted = p_text(p_holm)
    if design.family_size > 1:
        adjusted += f" after Holm's adjustment over {design.family_size} comparisons"
    if p_holm <= design.alpha and not design.limited:
        return ("better" if gain > 0 else "worse"), adjusted
    if inside_margin(interval, margin):
        return "equivalent", "the whole confidence interval lies inside the margin of equivalence"
    if design.sentence:
        return "undecided", design.sentence
    if margin is not None:
        adjusted += ", and the confidence interval reaches beyond the margin of equivalence"
    return "undecided", adjusted


def _size(metric: Metric, value: float) -> str:
    return f"{metric.text(abs(value))}{' of ' + metric.title if metric.higher_is_better else ''}"


def _interval(metric: Metric, interval: Interval | None, sign: int) -> str:
    if interval is None:
        return "no confidence interval"
    low, high = sorted((sign * interval.low, sign * interval.high))
    scale, unit = (100, "points") if metric.higher_is_better else (1, "mm")
    return f"{100 * interval.level:g} % CI {scale * low:.2f} to {scale * high:.2f} {unit}"


def sentence(
    a: str,
    b: str,
    metric: Metric,
    difference: float | None,
    interval: Interval | None,
    verdict: Verdict,
    reason: str,
    design: DesignLimit,
) -> str:
    """One plain sentence (two where the second guards against a misreading)."""
    subjects = f"{design.subjects} subject{'' if design.subjects == 1 else 's'}"
    if verdict == "undefined" or difference is None:
        return f"{a} and {b} cannot be compared on {metric.title}: {reason}."
    if verdict in ("better", "worse"):
        ahead, behind = (a, b) if verdict == "better" else (b, a)
        higher = "higher" if metric.higher_is_better else "lower"
        # The interval is written the way the sentence goes: from the better to the worse network.
        sign = 1 if difference > 0 else -1
        text = (
            f"{ahead} has a {higher} {metric.title} than {behind}, by {_size(metric, difference)} "
            f"({_interval(metric, interval, sign)}; {subjects}; {reason})."
        )
        if inside_margin(interval, metric.margin):
            text += " The difference is real but lies inside the margin of equivalence."
        return text
    shown = f"{_interval(metric, interval, 1)} for {a} minus {b}; {subjects}"
    if verdict == "equivalent":
        margin = _size(metric, metric.margin or 0)
        return f"{a} and {b} are equivalent within ±{margin} ({shown})."
    return (
        f"The data do not decide between {a} and {b} on {metric.title} ({shown}): {reason}. "
        "This does not show that they are equal."
    )
