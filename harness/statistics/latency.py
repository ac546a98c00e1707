"""Comparing two latencies: the ratio of medians, with an interval over processes.

Queries of one process share its memory layout, clocks and autotuning, so the process is the unit
here, as the subject is for scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from harness.errors import DataError
from harness.statistics.paired import t_quantile


@dataclass(frozen=True)
class LatencyRatio:
    """Median latency of `a` over that of `b`; below 1, `a` is faster. No interval has a reason."""

    a: str
    b: str
    median_a_ms: float
    median_b_ms: float
    ratio: float
    ci_low: float | None
    ci_high: float | None
    processes_a: int
    processes_b: int
    verdict: Literal["faster", "slower", "undecided", "undefined"]
    reason: str | None
    sentence: str


def latency_ratio(
    a: pd.DataFrame, b: pd.DataFrame, *, names: tuple[str, str] = ("a", "b"), level: float = 0.95
) -> LatencyRatio:
    """Compare the queries of two cells on one machine, in one plan, precision and batch size.

    `a` and `b` have the columns process and latency_ns. The ratio is that of the medians over all
    queries; its interval is Welch's t on the logarithms of the processes' medians. DataError where
    there is no query or a latency is not positive.
    """
    logs = [_process_logs(frame, name) for frame, name in zip((a, b), names, strict=True)]
    medians_ms = [float(frame["latency_ns"].median()) / 1e6 for frame in (a, b)]
    ratio = medians_ms[0] / medians_ms[1]
    reason, low, high = None, None, None
    if min(len(each) for each in logs) < 2:
        reason = "an interval needs at least 2 processes on each side"
    else:
        parts = [float(each.var(ddof=1)) / len(each) for each in logs]
        if sum(parts) == 0:
            reason = "the processes' medians are identical, so they have no spread"
        else:
            # Welch–Satterthwaite.
            df = sum(parts) ** 2 / sum(
                part**2 / (len(each) - 1) for part, each in zip(parts, logs, strict=True)
            )
            half = t_quantile(df, level) * np.sqrt(sum(parts))
            low, high = float(ratio * np.exp(-half)), float(ratio * np.exp(half))
    verdict = _verdict(low, high)
    sizes = len(logs[0]), len(logs[1])
    sentence = _sentence(names, ratio, low, high, sizes, verdict, reason)
    return LatencyRatio(
        *names, medians_ms[0], medians_ms[1], ratio, low, high, *sizes, verdict, reason, sentence
    )


@dataclass(frozen=True)
class MedianInterval:
    """Median over all queries, and its interval over processes (None, with the reason)."""

    median_ms: float
    ci_low_ms: float | None
    ci_high_ms: float | None
    processes: int
    reason: str | None


def median_interval(frame: pd.DataFrame, *, level: float = 0.95) -> MedianInterval:
    """How sure a median latency is: Student's t on the logarithms of the processes' medians.

    `frame` has the columns process and latency_ns, of one cell, plan, precision and batch size.
    DataError as in `latency_ratio`.
    """
    logs = _process_logs(frame, "this cell")
    median_ms = float(frame["latency_ns"].median()) / 1e6
    count = len(logs)
    spread = float(logs.std(ddof=1)) if count > 1 else 0.0
    if spread == 0:
        reason = "an interval needs at least 2 processes"
        if count > 1:
            reason = "the processes' medians are identical, so they have no spread"
        return MedianInterval(median_ms, None, None, count, reason)
    half = t_quantile(count - 1, level) * spread / np.sqrt(count)
    low, high = float(median_ms * np.exp(-half)), float(median_ms * np.exp(half))
    return MedianInterval(median_ms, low, high, count, None)


def _process_logs(frame: pd.DataFrame, name: str) -> np.ndarray:
    """Logarithms of the processes' median latencies (processes,)."""
    if frame.empty or not (frame["latency_ns"] > 0).all():
        raise DataError(
            f"the latencies of {name} must be positive, and at least one; measure again"
        )
    return np.log(frame.groupby("process")["latency_ns"].median().to_numpy(dtype=np.float64))


def _verdict(
    low: float | None, high: float | None
) -> Literal["faster", "slower", "undecided", "undefined"]:
    if low is None or high is None:
        return "undefined"
    if high < 1:
        return "faster"
    return "slower" if low > 1 else "undecided"


def _sentence(
    names: tuple[str, str],
    ratio: float,
    low: float | None,
    high: float | None,
    sizes: tuple[int, int],
    verdict: str,
    reason: str | None,
) -> str:
    a, b = names
    if low is None or high is None:
        return f"{a} takes {ratio:.2f} times the time of {b}, without an interval: {reason}."
    shown = f"95 % CI {low:.2f} to {high:.2f}; {sizes[0]} and {sizes[1]} processes"
    if verdict == "undecided":
        return (
            f"The measurements do not decide whether {a} or {b} is faster ({ratio:.2f}; {shown})."
        )
    return f"{a} is {verdict} than {b}: it takes {ratio:.2f} times the time ({shown})."
