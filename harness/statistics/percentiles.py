"""MLPerf's early-stopping estimate of a latency percentile.

Source: MLPerf Inference rules, "Early Stopping" (after Reddi et al., "MLPerf Inference Benchmark",
ISCA 2020): of n queries report the t-th largest, with t the largest number of overlong queries
that n still excuses at the asked confidence. The estimate is an upper bound, never flattering.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc


@dataclass(frozen=True)
class PercentileEstimate:
    """`value` in the samples' unit, or None with the reason; `discarded` is MLPerf's t."""

    percentile: float
    confidence: float
    samples: int
    value: float | None
    discarded: int | None
    reason: str | None = None


def allowed_overlong(samples: int, percentile: float = 0.9, confidence: float = 0.99) -> int:
    """t: the largest count with samples ≥ h(t) + t; 0 where there is none.

    h(t) is the least h with I_p(h, t + 1) < 1 − confidence (regularised incomplete beta). I_p falls
    as h grows, so n ≥ h(t) + t is the same as I_p(n − t, t + 1) < 1 − confidence.
    """
    counts = np.arange(1, samples, dtype=np.float64)
    enough = betainc(samples - counts, counts + 1, percentile) < 1 - confidence
    return int(np.count_nonzero(enough))


@cache
def least_samples(percentile: float = 0.9, confidence: float = 0.99) -> int:
    """The fewest samples with t ≥ 1: 64 for p90 and 662 for p99 at 99 % confidence."""
    samples = 2
    while betainc(samples - 1, 2, percentile) >= 1 - confidence:
        samples += 1
    return samples


def effective_samples(series: Sequence[NDArray[np.number]], percentile: float = 0.9) -> float:
    """How many independent samples these are worth for a percentile; at most as many as they are.

    `series` holds the samples (n,) of each process in the order of their queries. A query that
    follows a slow one is itself slow more often than chance: the count is divided by the
    autocorrelation time of "slower than the percentile" within a process, summed over pairs of lags
    until the first that is not above the standard error of no correlation (after Geyer 1992).
    """
    limit = np.quantile(np.concatenate(list(series)), percentile)
    over = [(np.asarray(each) > limit) - np.mean(np.asarray(each) > limit) for each in series]
    total = sum(map(len, over))
    spread = sum(float(each @ each) for each in over)
    if spread == 0:
        return float(total)
    time = 1.0
    for lag in range(1, max(map(len, over)) - 1, 2):
        pair = sum(float(each[: -lag - k] @ each[lag + k :]) for each in over for k in (0, 1))
        if pair <= spread * np.sqrt(2 / total):
            break
        time += 2 * pair / spread
    return total / max(1.0, time)


def early_stopping(
    samples: Sequence[int] | NDArray[np.number],
    percentile: float = 0.9,
    confidence: float = 0.99,
    *,
    effective: float | None = None,
) -> PercentileEstimate:
    """Upper estimate of a percentile of `samples` (n,), in their unit.

    `value` is sorted[n − t]; it is None, with the reason, if there are too few samples. The rule
    takes queries as independent; `effective` (of `effective_samples`) is what they are worth if
    they are not, and t is then as large a share of n as the rule allows for so many. ValueError if
    percentile or confidence is not inside (0, 1) or a sample is not finite.
    """
    if not (0 < percentile < 1 and 0 < confidence < 1):
        raise ValueError("percentile and confidence must lie between 0 and 1")
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    count = len(ordered)
    if not np.isfinite(ordered).all():
        raise ValueError("a sample is not finite")
    needed = least_samples(percentile, confidence)
    worth = count if effective is None else min(count, int(effective))
    if worth < needed:
        reason = f"p{100 * percentile:g} needs at least {needed} queries, there are {count}"
        if worth < count:
            reason += f", worth {worth} independent ones"
        return PercentileEstimate(percentile, confidence, count, None, None, reason)
    discarded = allowed_overlong(worth, percentile, confidence) * count // worth
    value = float(ordered[count - discarded])
    return PercentileEstimate(percentile, confidence, count, value, discarded)
