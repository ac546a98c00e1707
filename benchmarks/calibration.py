"""Does the comparison keep its promises? Simulations of networks that do not differ.

    OMP_NUM_THREADS=1 python -m benchmarks.calibration [--runs 4000] [--seed 1]

Prints the tables of docs/statistics.md: how often each test rejects a true null, how often one of
36 true nulls is called a difference, and how often an interval holds the true value.
"""

from __future__ import annotations

import argparse
from itertools import combinations

import numpy as np
import pandas as pd

from harness.statistics.intervals import Method, mean_interval
from harness.statistics.latency import latency_ratio
from harness.statistics.multiplicity import holm
from harness.statistics.paired import Floats, paired_t, sign_flip, wilcoxon

ALPHA = 0.05
SLICES = 20
NETWORKS = 9


def clustered(
    rng: np.random.Generator, subjects: int, correlation: float, columns: int = 1
) -> Floats:
    """Slice-wise values of mean 0 (subjects, SLICES, columns) with that intra-class correlation."""
    between = rng.normal(0, np.sqrt(correlation), (subjects, 1, columns))
    return between + rng.normal(0, np.sqrt(1 - correlation), (subjects, SLICES, columns))


def null_rejections(rng: np.random.Generator, runs: int, subjects: int, correlation: float):
    """Shares of true nulls rejected at 5 %: t over slices; over subjects t, sign-flip, Wilcoxon."""
    rejected = np.zeros(4)
    for _ in range(runs):
        values = clustered(rng, subjects, correlation)[..., 0]
        means = values.mean(axis=1)
        rejected += [
            paired_t(values.ravel()).p <= ALPHA,
            paired_t(means).p <= ALPHA,
            sign_flip(means).p <= ALPHA,
            wilcoxon(means).p <= ALPHA,
        ]
    return rejected / runs


def family_wise_error(
    rng: np.random.Generator, runs: int, subjects: int, correlation: float
) -> float:
    """Share of families of 36 null pairs (nine networks) with a rejection after Holm."""
    wrong = 0
    pairs = list(combinations(range(NETWORKS), 2))
    for _ in range(runs):
        # The subject's own difficulty is common to all networks and cancels in a pair.
        means = clustered(rng, subjects, correlation, NETWORKS).mean(axis=1)
        adjusted = holm([paired_t(means[:, a] - means[:, b]).p for a, b in pairs])
        wrong += any(p is not None and p <= ALPHA for p in adjusted)
    return wrong / runs


def coverage(
    rng: np.random.Generator, runs: int, subjects: int, method: Method, *, skewed: bool
) -> float:
    """Share of 95 % intervals that hold the true mean, of normal or of skewed differences."""
    held = 0
    for run in range(runs):
        # A gamma of shape 2 has a skewness of 1.4, about what Dice differences show.
        values = rng.gamma(2.0, 1.0, subjects) - 2.0 if skewed else rng.normal(size=subjects)
        interval = mean_interval(values, method=method, seed=run)
        held += interval is not None and interval.low <= 0 <= interval.high
    return held / runs


def ratio_coverage(rng: np.random.Generator, runs: int, processes: int) -> float:
    """Share of 95 % intervals of a latency ratio that hold the true one, 5 % between processes."""
    held = 0
    true = 1.25
    process = np.repeat(np.arange(processes), 200)
    for _ in range(runs):
        frames = []
        for scale in (true, 1.0):
            level = np.exp(rng.normal(0, 0.05, processes))[process]
            # The long tail of a query's time on a busy machine.
            noise = np.exp(rng.normal(0, 0.02, len(process)) + rng.exponential(0.05, len(process)))
            times = (1e7 * scale * level * noise).astype(np.int64)
            frames.append(pd.DataFrame({"process": process, "latency_ns": times}))
        ratio = latency_ratio(frames[0], frames[1])
        assert ratio.ci_low is not None
        assert ratio.ci_high is not None
        held += ratio.ci_low <= true <= ratio.ci_high
    return held / runs


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    rng = np.random.default_rng(options.seed)
    runs = options.runs
    print(f"{runs} runs, seed {options.seed}; true nulls rejected at 5 %, in %\n")
    print("| subjects | correlation | t over slices | t over subjects | sign-flip | Wilcoxon |")
    print("|---:|---:|---:|---:|---:|---:|")
    for subjects in (6, 12, 24):
        for correlation in (0.0, 0.1, 0.3, 0.5):
            shares = null_rejections(rng, runs, subjects, correlation)
            cells = " | ".join(percent(share) for share in shares)
            print(f"| {subjects} | {correlation:g} | {cells} |", flush=True)
    print(f"\n{runs // 4} runs; families of 36 null pairs with any rejection, in %\n")
    print("| subjects | correlation | family-wise error |\n|---:|---:|---:|")
    for subjects in (12, 24):
        for correlation in (0.1, 0.5):
            error = family_wise_error(rng, runs // 4, subjects, correlation)
            print(f"| {subjects} | {correlation:g} | {percent(error)} |", flush=True)
    print(f"\n{runs} runs; 95 % intervals that hold the true mean, in %\n")
    print("| subjects | differences | t | BCa | bootstrap |\n|---:|---|---:|---:|---:|")
    methods: tuple[Method, ...] = ("t", "bca", "bootstrap")
    for subjects in (6, 12, 30, 60):
        for skewed in (False, True):
            shares = [coverage(rng, runs, subjects, each, skewed=skewed) for each in methods]
            cells = " | ".join(percent(share) for share in shares)
            print(f"| {subjects} | {'skewed' if skewed else 'normal'} | {cells} |", flush=True)
    print(f"\n{runs // 4} runs; 95 % intervals that hold the true ratio of latencies, in %\n")
    print("| processes a side | coverage |\n|---:|---:|")
    for processes in (2, 3, 5, 10):
        share = ratio_coverage(rng, runs // 4, processes)
        print(f"| {processes} | {percent(share)} |", flush=True)


if __name__ == "__main__":
    main()
