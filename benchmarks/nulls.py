"""Nine networks that do not differ in mean, in the ways that break a test of few subjects.

Each null gives scores (runs, subjects, networks) whose true means are equal. In those that are
"unlike" four of the nine networks have the trait and five have not: only then are the differences
of a pair skewed, and only then does a test that assumes symmetry err.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.metrics import subject_means
from harness.records.selection import slice_table
from harness.records.store import load_records

Floats = NDArray[np.float64]
Generator = Callable[[np.random.Generator, int, int], Floats]

NETWORKS = 9
UNLIKE = 4
RESULTS = Path(__file__).parents[1] / "results"


def normal(rng: np.random.Generator, runs: int, subjects: int, sd: float = 0.02) -> Floats:
    """Normal noise; 0.02 are two points of Dice."""
    return rng.normal(0, sd, (runs, subjects, NETWORKS))


def heavy(rng: np.random.Generator, runs: int, subjects: int, df: float) -> Floats:
    """Student's t of few degrees of freedom."""
    return 0.02 * rng.standard_t(df, (runs, subjects, NETWORKS))


def skewed(
    rng: np.random.Generator, runs: int, subjects: int, networks: int, scale: float
) -> Floats:
    """`networks` of the nine lose a log-normal amount (skewness 6.2), the others are normal."""
    loss = np.exp(rng.normal(0, 1, (runs, subjects, networks))) - np.exp(0.5)
    scores = normal(rng, runs, subjects, 0.01)
    scores[..., :networks] -= scale * loss
    return scores


def gamma(rng: np.random.Generator, runs: int, subjects: int, scale: float) -> Floats:
    """Four networks lose an exponential amount (skewness 2)."""
    scores = normal(rng, runs, subjects, 0.01)
    scores[..., :UNLIKE] -= scale * (rng.exponential(1, (runs, subjects, UNLIKE)) - 1)
    return scores


def failing(
    rng: np.random.Generator,
    runs: int,
    subjects: int,
    share: float,
    loss: float = 0.3,
    networks: int = UNLIKE,
) -> Floats:
    """`networks` of the nine lose `loss` on a share of subjects and are better on the others."""
    failed = rng.random((runs, subjects, networks)) < share
    scores = normal(rng, runs, subjects, 0.01)
    scores[..., :networks] -= loss * (failed - share)
    return scores


@cache
def real_scores(set_name: str) -> Floats:
    """Dice of the committed records' subjects (subjects, networks), PyTorch, as it ranks."""
    stored = [r for r in load_records(RESULTS) if r.record.key.backend == "torch"]
    slices = slice_table([r for r in stored if r.record.scores])
    own = slices[slices["set"] == set_name]
    means = [subject_means(rows, "dice", over="alarms") for _, rows in own.groupby("network")]
    return np.stack([each.to_numpy(dtype=np.float64) for each in means], axis=1)


def resampled(
    rng: np.random.Generator, runs: int, subjects: int, sets: tuple[str, ...], centred: bool = True
) -> Floats:
    """Recorded subjects drawn with replacement, each network's mean over a set taken off."""
    parts = [real_scores(name) for name in sets]
    pool = np.concatenate([part - part.mean(axis=0) * centred for part in parts])
    return pool[rng.integers(0, len(pool), (runs, subjects))]


NULLS: dict[str, Generator] = {
    "normal": normal,
    "heavy tails, t with 3 df": partial(heavy, df=3),
    "heavy tails, t with 2 df": partial(heavy, df=2),
    "skewed alike, log-normal": partial(skewed, networks=NETWORKS, scale=0.03),
    "skewed, log-normal": partial(skewed, networks=UNLIKE, scale=0.03),
    "skewed, log-normal, five times as wide": partial(skewed, networks=UNLIKE, scale=0.15),
    "skewed, exponential": partial(gamma, scale=0.05),
    "skewed, exponential, three times as wide": partial(gamma, scale=0.15),
    "failing alike, 5 % lose 30 points": partial(failing, share=0.05, networks=NETWORKS),
    "failing, 5 % lose 30 points, one network": partial(failing, share=0.05, networks=1),
    "failing, 2 % lose 30 points": partial(failing, share=0.02),
    "failing, 5 % lose 30 points": partial(failing, share=0.05),
    "failing, 10 % lose 30 points": partial(failing, share=0.1),
    "failing, 15 % lose 30 points": partial(failing, share=0.15),
    "failing, 20 % lose 30 points": partial(failing, share=0.2),
    "failing, 30 % lose 30 points": partial(failing, share=0.3),
    "failing, 5 % lose 60 points": partial(failing, share=0.05, loss=0.6),
    "recorded subjects, normal set": partial(resampled, sets=("normal",)),
    "recorded subjects, challenging set": partial(resampled, sets=("challenging",)),
    "recorded subjects, both sets": partial(resampled, sets=("normal", "challenging")),
}
