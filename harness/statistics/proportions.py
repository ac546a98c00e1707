"""Shares of slices or subjects, with exact intervals; and what may go unseen in a few subjects."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil, log

from scipy.special import betaincinv


@dataclass(frozen=True)
class Proportion:
    """`hits` of `count`, their share (0–1) and its two-sided interval at `level`."""

    hits: float
    count: float
    share: float
    low: float
    high: float
    level: float


def proportion(hits: float, count: float, *, level: float = 0.95) -> Proportion:
    """The share with the exact interval of Clopper & Pearson (1934).

    `hits` may be a mean of counts (over seeds). ValueError unless 0 ≤ hits ≤ count and count > 0.
    """
    if not 0 <= hits <= count or count <= 0:
        raise ValueError(f"{hits} of {count} is not a share")
    tail = (1 - level) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, count - hits + 1, tail))
    high = 1.0 if hits == count else float(betaincinv(hits + 1, count - hits, 1 - tail))
    return Proportion(hits, count, hits / count, low, high, level)


def unseen_share(subjects: int, risk: float) -> float:
    """The share of subjects that may fail although none of `subjects` did, but for `risk`.

    The upper limit of Clopper & Pearson for no failure: 1 − risk^(1/n), about 3/n at 5 %.
    """
    return 1.0 if subjects < 1 else float(1 - risk ** (1 / subjects))


def subjects_to_exclude(share: float, risk: float) -> int:
    """The fewest subjects without a failure that exclude a share of failures: 59 for 5 % at 5 %."""
    return ceil(log(risk) / log(1 - share))
