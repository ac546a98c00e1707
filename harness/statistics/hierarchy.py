"""Subjects and seeds together: a difference must outlast other subjects *and* other trainings.

Scores of one contestant are (subjects, seeds). The variance of a difference of means has three
parts: subjects (paired, over G), trainings of the one and trainings of the other (over their seeds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr

from harness.statistics.intervals import Interval
from harness.statistics.paired import Floats, t_quantile

ENOUGH_SEEDS = 3
"""Seeds on both sides from which their spread enters the verdict; with fewer it is only said"""

RESAMPLES = 99_999
CHUNK = 10_000


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


@lru_cache(maxsize=8)
def _draws(count: int, seed: int) -> NDArray[np.float32]:
    """How often each of `count` is drawn with replacement: (RESAMPLES, count)."""
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    return drawn.astype(np.float32)


def bootstrap_t(a: Floats, b: Floats, seed: int = 0) -> float:
    """Two-sided p of the studentised bootstrap of a paired difference (Efron 1981; Hall 1992).

    `a` and `b` are (subjects, seeds); subjects are drawn in pairs and, if both have three seeds or
    more, seeds too. Each resample's difference is divided by its own standard error, so that skew
    shows on the side on which it misleads. The p is twice that of the larger tail of the two.
    """
    by_seed = min(a.shape[1], b.shape[1]) >= ENOUGH_SEEDS
    if not by_seed:
        a, b = (each.mean(axis=1, keepdims=True) for each in (a, b))
    subjects = _draws(len(a), seed)
    # One stream each: the trainings of two networks have nothing in common.
    seeds = [_draws(each.shape[1], seed + 1 + side) for side, each in enumerate((a, b))]
    offset = a.mean() - b.mean()
    observed = abs(offset) / np.sqrt(sum(_variances(a, b, by_seed)))
    beyond = np.zeros(2, dtype=np.int64)
    for start in range(0, RESAMPLES, CHUNK):
        part = slice(start, start + CHUNK)
        weights = seeds[0][part], seeds[1][part]
        t = _studentised(a, b, subjects[part], weights, offset, by_seed=by_seed)
        beyond += [np.count_nonzero(t <= -observed), np.count_nonzero(t >= observed)]
    return float(min(1.0, 2 * (beyond.max() + 1) / (RESAMPLES + 1)))


def _variances(a: Floats, b: Floats, by_seed: bool) -> list[float]:
    subjects = (a.mean(axis=1) - b.mean(axis=1)).var(ddof=1) / len(a)
    return [float(subjects), *(map(_seed_variance, (a, b)) if by_seed else ())]


def _studentised(
    a: Floats,
    b: Floats,
    subjects: NDArray[np.float32],
    seeds: tuple[NDArray[np.float32], NDArray[np.float32]],
    offset: float,
    *,
    by_seed: bool,
) -> Floats:
    """t of each resample (resamples,) about `offset`; ±inf if it has no spread at all."""
    count = len(a)
    drawn = [w @ scores.T / scores.shape[1] for w, scores in zip(seeds, (a, b), strict=True)]
    differences = drawn[0] - drawn[1] - offset
    mean = (subjects * differences).sum(axis=1) / count
    square = (subjects * differences**2).sum(axis=1) / count
    variance = np.maximum(square - mean**2, 0.0) / (count - 1)
    if by_seed:
        for weights, scores in zip(seeds, (a, b), strict=True):
            size = scores.shape[1]
            means = subjects @ scores / count
            middle = (weights * means).sum(axis=1, keepdims=True) / size
            variance += (weights * (means - middle) ** 2).sum(axis=1) / (size - 1) / size
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, mean / np.sqrt(variance), np.copysign(np.inf, mean))


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
