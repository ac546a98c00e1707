"""Subjects and seeds together: a difference must outlast other subjects *and* other trainings.

Scores of one contestant are (subjects, seeds). The variance of a difference of means has three
parts: subjects (paired), trainings of the one and trainings of the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import stdtr

from harness.statistics.intervals import Interval
from harness.statistics.paired import Floats, t_quantile

ENOUGH_SEEDS = 3
"""Seeds on both sides from which their spread enters the verdict; with fewer it is only said"""


@dataclass(frozen=True)
class HierarchicalT:
    """Student's t with the variance of subjects and trainings, Satterthwaite's df, two-sided p."""

    t: float
    df: float
    p: float
    interval: Interval


def hierarchical_t(a: Floats, b: Floats, level: float = 0.95) -> HierarchicalT:
    """The mean of `a` (subjects, seeds) minus that of `b`, over subjects and trainings.

    Both need two seeds and two subjects at least, and some spread between subjects.
    """
    difference = float(a.mean() - b.mean())
    subjects = a.mean(axis=1) - b.mean(axis=1)
    parts = np.array([subjects.var(ddof=1) / len(subjects), *map(_seed_variance, (a, b))])
    dfs = np.array([len(subjects) - 1, a.shape[1] - 1, b.shape[1] - 1])
    error = float(np.sqrt(parts.sum()))
    df = float(parts.sum() ** 2 / (parts**2 / dfs).sum())
    t = difference / error
    half = t_quantile(df, level) * error
    interval = Interval(difference - half, difference + half, "t", level)
    return HierarchicalT(t, df, float(2 * stdtr(df, -abs(t))), interval)


def _seed_variance(scores: Floats) -> float:
    """Variance of the mean over seeds, from the seeds' means over subjects."""
    return float(scores.mean(axis=0).var(ddof=1)) / scores.shape[1]


def resampled_over_seeds(scores: Sequence[Floats], resamples: int, seed: int) -> Floats:
    """Means of contestants over drawn subjects and seeds: (resamples, contestants).

    `scores` holds (subjects, seeds) of each. All share the drawn subjects, which keeps their
    comparison paired; seeds are drawn for those with three or more.
    """
    rng = np.random.default_rng(seed)
    count = len(scores[0])
    subjects = rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    means = []
    for each in scores:
        size = each.shape[1]
        weights = np.full((resamples, size), 1 / size)
        if size >= ENOUGH_SEEDS:
            weights = rng.multinomial(size, weights[0], size=resamples) / size
        means.append(((subjects @ each) * weights).sum(axis=1))
    return np.stack(means, axis=1)
