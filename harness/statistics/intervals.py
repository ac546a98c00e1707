"""Confidence intervals of a mean over subjects: Student's t, cluster bootstrap, BCa.

The subject is the cluster: its slices are first averaged into one value, so that drawing subjects
with replacement carries all their slices along.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from scipy.special import ndtr, ndtri

from harness.statistics.paired import Floats, t_quantile, why_undefined

Method = Literal["t", "bootstrap", "bca"]

RESAMPLES = 2_000
FEW_SUBJECTS = 30
"""Below this the percentile bootstrap is too narrow, and a t-interval stands in for it"""


@dataclass(frozen=True)
class Interval:
    """`low` and `high` in the data's unit, and how they came about."""

    low: float
    high: float
    method: Method
    level: float


def resampled_means(values: Floats, resamples: int, seed: int) -> Floats:
    """Means over subjects drawn with replacement: (subjects, columns) → (resamples, columns).

    All columns share the drawn subjects, which keeps their comparison paired.
    """
    rng = np.random.default_rng(seed)
    subjects = len(values)
    counts = rng.multinomial(subjects, np.full(subjects, 1 / subjects), size=resamples)
    return counts @ values / subjects


def default_method(subjects: int) -> Method:
    """t below 30 subjects, the cluster bootstrap from there on."""
    return "t" if subjects < FEW_SUBJECTS else "bootstrap"


def mean_interval(
    values: Floats,
    *,
    method: Method | None = None,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """Interval of the mean of `values` (subjects,); None where they have no spread or are one."""
    if why_undefined(values):
        return None
    chosen = method or default_method(len(values))
    mean = float(values.mean())
    if chosen == "t":
        half = t_quantile(len(values) - 1, level) * float(values.std(ddof=1)) / np.sqrt(len(values))
        return Interval(float(mean - half), float(mean + half), chosen, level)
    means = resampled_means(values[:, None], resamples, seed)[:, 0]
    tails = np.array([(1 - level) / 2, (1 + level) / 2])
    if chosen == "bca":
        tails = _bca_tails(values, means, tails)
    low, high = np.quantile(means, tails)
    return Interval(float(low), float(high), chosen, level)


def _bca_tails(values: Floats, means: Floats, tails: Floats) -> Floats:
    """Quantiles after correction of bias and acceleration (Efron 1987, section 3)."""
    mean = values.mean()
    below = np.mean(means < mean) + 0.5 * np.mean(means == mean)
    bias = ndtri(np.clip(below, 1 / len(means), 1 - 1 / len(means)))
    deviations = values - mean
    # The jackknife of a mean has this closed form.
    acceleration = (deviations**3).sum() / (6 * (deviations**2).sum() ** 1.5)
    shifted = bias + ndtri(tails)
    return ndtr(bias + shifted / (1 - acceleration * shifted))
