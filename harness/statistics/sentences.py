"""The verdict in plain words that a clinician can read, with everything that it rests on."""

from __future__ import annotations

from harness.metrics.catalogue import Metric
from harness.statistics.intervals import Interval
from harness.statistics.multiplicity import DesignLimit
from harness.statistics.verdicts import Decision, inside_margin, p_text


def sentence(
    a: str,
    b: str,
    metric: Metric,
    difference: float | None,
    intervals: tuple[Interval | None, Interval | None],
    decision: Decision,
    p_values: dict[str, float],
    design: DesignLimit,
    needed: int | None = None,
) -> str:
    """One plain sentence, and one that guards against a misreading.

    `intervals` are that of the pair alone and that adjusted for the family; `p_values` are those of
    the tests by name, unadjusted; `needed` subjects would decide, if it is more than there are.
    """
    verdict, reason = decision.verdict, decision.reason
    if verdict == "undefined" or difference is None:
        return f"{a} and {b} cannot be compared on {metric.title}: {reason}."
    if verdict in ("better", "worse"):
        ahead, behind = (a, b) if verdict == "better" else (b, a)
        higher = "higher" if metric.higher_is_better else "lower"
        # The interval is written the way the sentence runs: from the better to the worse network.
        sign = 1 if difference > 0 else -1
        shown = _shown(metric, intervals, sign, design, p_values, decision.caveats)
        text = (
            f"{ahead} has a {higher} {metric.title} than {behind}, by {_size(metric, difference)}: "
            f"{reason} ({shown})."
        )
        if inside_margin(intervals[0], metric.margin):
            text += " The difference is real but lies inside the margin of equivalence."
        return text
    shown = _shown(metric, intervals, 1, design, p_values, decision.caveats)
    if verdict == "equivalent":
        margin = _size(metric, metric.margin or 0)
        return f"{a} and {b} are equivalent within ±{margin} ({a} minus {b}: {shown})."
    return (
        f"The data do not decide between {a} and {b} on {metric.title}: {reason} "
        f"({a} minus {b}: {shown}). This does not show that they are equal."
        + (
            f" About {needed} subjects would decide a true difference of this size."
            if needed and needed > design.subjects
            else ""
        )
    )


def _shown(
    metric: Metric,
    intervals: tuple[Interval | None, Interval | None],
    sign: int,
    design: DesignLimit,
    p_values: dict[str, float],
    caveats: tuple[str, ...],
) -> str:
    alone, adjusted = intervals
    subjects = f"{design.subjects} subject{'' if design.subjects == 1 else 's'}"
    parts = [_interval(metric, alone, sign)]
    if adjusted and design.family_size > 1:
        low, high = _ends(metric, adjusted, sign)
        parts[0] += f" for this pair alone, {low} to {high} adjusted for {design.family_size}"
    tests = ", ".join(f"{name} {p_text(p)}" for name, p in p_values.items())
    parts += [subjects, f"unadjusted: {tests}", *caveats]
    return "; ".join(parts)


def _size(metric: Metric, value: float) -> str:
    return f"{metric.text(abs(value))}{' of ' + metric.title if metric.higher_is_better else ''}"


def _ends(metric: Metric, interval: Interval, sign: int) -> tuple[str, str]:
    scale = 100 if metric.higher_is_better else 1
    low, high = sorted((sign * interval.low, sign * interval.high))
    return f"{scale * low:.2f}", f"{scale * high:.2f}"


def _interval(metric: Metric, interval: Interval | None, sign: int) -> str:
    if interval is None:
        return "no confidence interval"
    low, high = _ends(metric, interval, sign)
    unit = "points" if metric.higher_is_better else "mm"
    return f"{100 * interval.level:g} % CI {low} to {high} {unit}"
