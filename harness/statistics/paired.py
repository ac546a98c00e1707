"""Tests of paired differences, one a subject: Student's t, sign-flip and Wilcoxon."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import lgamma

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

Floats = NDArray[np.float64]

EXACT_UP_TO = 20
"""Subjects up to which all sign patterns are enumerated (2¹⁹ sums by symmetry)"""
RESAMPLES = 99_999
"""Random patterns above that; the least p is 1 / 100,000, so that 36 pairs can reach 0.001"""
CHUNK = 10_000
ROWS = 64

ROUNDING = 1e-12


@dataclass(frozen=True)
class PairedT:
    """Student's paired t with its effect sizes; differences and interval in the data's unit.

    `d_z` is the mean difference over the standard deviation of the differences, `g_z` the same with
    Hedges' exact correction for few subjects (None for two, where the correction is 0).
    """

    count: int
    t: float
    df: int
    p: float
    difference: float
    ci_low: float
    ci_high: float
    d_z: float
    g_z: float | None


@dataclass(frozen=True)
class Permutation:
    """Two-sided p of a test by sign flips; `exact` where every pattern was counted."""

    p: float
    exact: bool


def why_undefined(differences: Floats) -> str | None:
    """Why no test can be made of these differences (n,), or None where one can."""
    if len(differences) < 2:
        return "one subject only: there is no spread between subjects to test against"
    if not np.isfinite(differences).all():
        return "some subjects have no finite score"
    scale = max(1.0, float(np.abs(differences).max()))
    if np.ptp(differences) <= ROUNDING * scale:
        if np.abs(differences).max() <= ROUNDING:
            return "the scores are identical for every subject"
        return "the difference is the same for every subject, so it has no spread"
    return None


def hedges_correction(df: int) -> float:
    """J(df), the exact factor from Cohen's d to Hedges' g (Hedges 1981); df ≥ 2."""
    return float(np.exp(lgamma(df / 2) - lgamma((df - 1) / 2)) * np.sqrt(2 / df))


def t_quantile(df: float, level: float = 0.95) -> float:
    """Two-sided critical value of Student's t."""
    return float(stdtrit(df, 0.5 + level / 2))


def paired_t(differences: Floats, level: float = 0.95) -> PairedT:
    """Student's paired t of differences (n,); ValueError with the reason where undefined."""
    reason = why_undefined(differences)
    if reason:
        raise ValueError(reason)
    count = len(differences)
    mean, spread = float(differences.mean()), float(differences.std(ddof=1))
    error = spread / np.sqrt(count)
    df = count - 1
    t = mean / error
    half = t_quantile(df, level) * error
    d_z = mean / spread
    return PairedT(
        count=count,
        t=float(t),
        df=df,
        p=float(2 * stdtr(df, -abs(t))),
        difference=mean,
        ci_low=float(mean - half),
        ci_high=float(mean + half),
        d_z=d_z,
        g_z=d_z * hedges_correction(df) if df >= 2 else None,
    )


def _all_sums(values: Floats) -> Floats:
    """The sum of `values` under every sign pattern that keeps the first sign (2ⁿ⁻¹,).

    The other half are the same sums negated, and a two-sided test counts them alike.
    """
    sums = values[:1]
    for value in values[1:]:
        sums = np.concatenate([sums + value, sums - value])
    return sums


@lru_cache(maxsize=2)
def _random_signs(count: int, seed: int) -> NDArray[np.int8]:
    """Random signs (RESAMPLES, count); shared by all pairs of a family."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, (RESAMPLES, count), dtype=np.int8) * np.int8(2) - np.int8(1)


def sign_flip(differences: Floats, seed: int = 0) -> Permutation:
    """Two-sided sign-flip permutation test of the mean difference (Fisher).

    Exact up to `EXACT_UP_TO` subjects; above, a Monte-Carlo p that counts the data itself as one
    pattern (Phipson & Smyth 2010), so that it is never 0 and never too small. It assumes that the
    differences are symmetric about their mean.
    """
    exact = len(differences) <= EXACT_UP_TO
    return Permutation(float(sign_flip_p(differences[None], seed)[0]), exact)


def sign_flip_p(differences: Floats, seed: int = 0) -> Floats:
    """The p of `sign_flip` for many tests at once: (tests, subjects) → (tests,)."""
    count = differences.shape[1]
    # Sums that differ from the observed one by rounding alone count as equal to it.
    rounding = ROUNDING * np.abs(differences).sum(axis=1)
    observed = np.abs(differences.sum(axis=1)) - rounding
    if count <= EXACT_UP_TO:
        shares = [
            (np.abs(_all_sums(row)) >= least).mean()
            for row, least in zip(differences, observed, strict=True)
        ]
        return np.array(shares, dtype=np.float64)
    signs = _random_signs(count, seed)
    as_far = np.zeros(len(differences), dtype=np.int64)
    for start in range(0, RESAMPLES, CHUNK):
        drawn = signs[start : start + CHUNK].astype(np.float64)
        # Some rows at a time, so that the table of sums stays in the processor's cache.
        for row in range(0, len(differences), ROWS):
            rows = slice(row, row + ROWS)
            sums = np.abs(drawn @ differences[rows].T)
            as_far[rows] += np.count_nonzero(sums >= observed[rows], axis=0)
    return (as_far + 1) / (RESAMPLES + 1)


def mid_ranks(values: NDArray[np.floating]) -> Floats:
    """Ranks from 1 (n,), ties sharing the mean of theirs."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse]


def wilcoxon(differences: Floats, seed: int = 0) -> Permutation:
    """Wilcoxon's signed-rank test: zero differences left out, ties given mid-ranks.

    The p is that of the sign flips of the ranks, hence exact with ties too (up to `EXACT_UP_TO`).
    """
    kept = differences[np.abs(differences) > ROUNDING]
    if len(kept) == 0:
        return Permutation(1.0, exact=True)
    # Rounded, so that differences that are equal but for rounding tie.
    return sign_flip(np.sign(kept) * mid_ranks(np.round(np.abs(kept), 12)), seed)


def least_sign_flip_p(subjects: int) -> float:
    """The smallest two-sided p that the sign-flip test can give for that many subjects."""
    if subjects <= EXACT_UP_TO:
        return min(1.0, 2.0 ** (1 - subjects))
    return 1 / (RESAMPLES + 1)
