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


def early_stopping(
    samples: Sequence[int] | NDArray[np.number], percentile: float = 0.9, confidence: float = 0.99
) -> PercentileEstimate:
    """Upper estimate of a percentile of `samples` (n,), in their unit.

    `value` is sorted[n − t]; it is None, with the reason, where there are too few samples.
    ValueError where percentile or confidence is not inside (0, 1) or a sample is not finite.
    """
    if not (0 < percentile < 1 and 0 < confidence < 1):
        raise ValueError("percentile and confidence must lie between 0 and 1")
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    count = len(ordered)
    if not np.isfinite(ordered).all():
        raise ValueError("a sample is not finite")
    needed = least_samples(percentile, confidence)
    if count < needed:
        reason = f"p{100 * percentile:g} needs at least {needed} queries, there are {count}"
        return PercentileEstimate(percentile, confidence, count, None, None, reason)
    discarded = allowed_overlong(count, percentile, confidence)
    value = float(ordered[count - discarded])
    return PercentileEstimate(percentile, confidence, count, value, discarded)
