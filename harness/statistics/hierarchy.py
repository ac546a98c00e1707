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


@dataclass(frozen=True)
class SeedVariance:
    """Variance from training to training of a mean over subjects, with its degrees of freedom."""

    variance: float
    df: int


def seed_variance(scores: Floats) -> SeedVariance:
    """Of one contestant, from its scores (subjects, seeds)."""
    means = scores.mean(axis=0)
    return SeedVariance(float(means.var(ddof=1)), len(means) - 1)


def pooled_seed_variance(family: Sequence[Floats]) -> SeedVariance | None:
    """Of all contestants with enough seeds together; None if there is none."""
    parts = [seed_variance(each) for each in family if each.shape[1] >= ENOUGH_SEEDS]
    df = sum(part.df for part in parts)
    return SeedVariance(sum(p.variance * p.df for p in parts) / df, df) if parts else None


def hierarchical_t(
    a: Floats, b: Floats, level: float = 0.95, pooled: SeedVariance | None = None
) -> HierarchicalT:
    """The mean of `a` (subjects, seeds) minus that of `b`, over subjects and trainings.

    Both need two seeds and two subjects at least, and some spread between subjects. Three trainings
    that happen to agree must not pass for a network that always trains alike: a contestant whose
    variance is below that of its family (`pooled`) is given the family's.
    """
    difference = float(a.mean() - b.mean())
    subjects = a.mean(axis=1) - b.mean(axis=1)
    parts = [float(subjects.var(ddof=1)) / len(subjects)]
    dfs = [len(subjects) - 1]
    for scores in (a, b):
        found = seed_variance(scores)
        if pooled and pooled.variance > found.variance:
            found = pooled
        parts.append(found.variance / scores.shape[1])
        dfs.append(found.df)
    total = sum(parts)
    df = total**2 / sum(part**2 / each for part, each in zip(parts, dfs, strict=True))
    error = float(np.sqrt(total))
    t = difference / error
    half = t_quantile(df, level) * error
    interval = Interval(difference - half, difference + half, "t", level)
    return HierarchicalT(t, df, float(2 * stdtr(df, -abs(t))), interval)


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
