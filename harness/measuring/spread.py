"""How sure a median is: an interval from the order of the samples alone, without a model."""

from __future__ import annotations

from functools import cache

import numpy as np

from backends.contract import Array

CONFIDENCE = 0.99


def median_bounds(values: Array) -> tuple[float, float]:
    """Bounds that hold the true median with a probability of at least 99 %.

    The sample's k-th smallest and k-th largest value, k from the binomial distribution: nothing is
    assumed of the values but independence. With fewer than eight values no such pair exists, and
    the bounds are infinite.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    skipped = _skipped(len(ordered))
    if skipped is None:
        return -np.inf, np.inf
    return float(ordered[skipped]), float(ordered[-1 - skipped])


@cache
def _skipped(count: int) -> int | None:
    """How many values may be left out at either end; None if even all are too few."""
    # More than a second to import, which `plan` has no use for.
    from scipy.stats import binom

    # The median lies below the smallest of the kept ones with probability P(B ≤ skipped).
    outside = int(binom.ppf((1 - CONFIDENCE) / 2, count, 0.5))
    while outside >= 0 and binom.cdf(outside, count, 0.5) > (1 - CONFIDENCE) / 2:
        outside -= 1
    return outside if outside >= 0 else None
