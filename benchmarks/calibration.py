"""Does the comparison keep its promises? Simulations of networks that do not differ, and that do.

    OMP_NUM_THREADS=1 python -m benchmarks.calibration [--runs 1000] [--seed 1] [--only size ...]

Prints the tables of docs/statistics.md: how often one of 36 true nulls is called a difference, how
often a true difference is found, how often a single test rejects a true null, and how often an
interval holds the true value. "Before" is Student's t and Holm, "after" is the rule.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.special import stdtr

from benchmarks.nulls import NETWORKS, NULLS, Generator, resampled
from harness.metrics.catalogue import FAILURE_LOSS, METRICS
from harness.statistics.guard import guard
from harness.statistics.hierarchy import (
    SeedVariance,
    hierarchical_t,
    pooled_seed_variance,
    resampled_over_seeds,
)
from harness.statistics.intervals import Method, mean_interval
from harness.statistics.latency import latency_ratio
from harness.statistics.multiplicity import design_limit
from harness.statistics.paired import Floats, mid_ranks, paired_t, sign_flip, sign_flip_p, wilcoxon
from harness.statistics.ranks import competition_ranks, rank_bounds
from harness.statistics.verdicts import decide

ALPHA = 0.05
SLICES = 20
PAIRS = np.array(list(combinations(range(NETWORKS), 2)))
SUBJECTS = (8, 12, 16, 24, 40)


@dataclass(frozen=True)
class Called:
    """Which pairs (runs, pairs) are called different, by each rule; `mean` is the difference."""

    before: np.ndarray
    after: np.ndarray
    mean: Floats


def holm_rejects(p: Floats) -> np.ndarray:
    """Holm's decisions at ALPHA over the last axis: `multiplicity.holm` for many families."""
    size = p.shape[1]
    order = p.argsort(axis=1)
    steps = np.take_along_axis(p, order, 1) * (size - np.arange(size)) <= ALPHA
    rejected = np.empty_like(steps)
    np.put_along_axis(rejected, order, np.logical_and.accumulate(steps, axis=1), 1)
    return rejected


def call(differences: Floats) -> Called:
    """Both rules on `differences` (runs, pairs, subjects); a test of the suite checks `after`.

    The other tests are made only if the t-test alone does not already spare the pair.
    """
    _, pairs, subjects = differences.shape
    mean = differences.mean(axis=2)
    error = differences.std(axis=2, ddof=1) / np.sqrt(subjects)
    p = 2 * stdtr(subjects - 1, -np.abs(mean / error))
    reachable = not design_limit(subjects, pairs, ALPHA).limited
    before = holm_rejects(p) & reachable
    largest = p.copy()
    for statistic in (lambda rows: rows, _signed_ranks):
        open_ones = largest <= ALPHA
        if reachable and open_ones.any():
            ps = sign_flip_p(statistic(differences[open_ones]))
            largest[open_ones] = np.maximum(largest[open_ones], ps)
    deviations = np.abs(differences - mean[..., None]).max(axis=(1, 2))
    least = [guard(float(each), subjects, FAILURE_LOSS, ALPHA).least for each in deviations]
    after = holm_rejects(largest) & reachable & (np.abs(mean) > np.array(least)[:, None])
    return Called(before, after, mean)


def _signed_ranks(rows: Floats) -> Floats:
    return np.stack([np.sign(row) * mid_ranks(np.round(np.abs(row), 12)) for row in rows])


def family_errors(
    rng: np.random.Generator, null: str, *, runs: int, subjects: int, pairs: int = 36
) -> tuple[float, float]:
    """Shares of families with a pair called different, before and after, under a null of NULLS."""
    scores = NULLS[null](rng, runs, subjects)
    # One pair alone: of the last network that has the trait with one that has not.
    chosen = PAIRS if pairs == len(PAIRS) else np.array([[0, NETWORKS - 1]])
    found = call(differences_of(scores, chosen))
    return float(found.before.any(axis=1).mean()), float(found.after.any(axis=1).mean())


def differences_of(scores: Floats, pairs: np.ndarray = PAIRS) -> Floats:
    """(runs, subjects, networks) → (runs, pairs, subjects)."""
    return np.moveaxis(scores[..., pairs[:, 0]] - scores[..., pairs[:, 1]], 1, 2)


def size(rng: np.random.Generator, runs: int) -> None:
    """Family-wise errors, before → after."""
    for pairs, title in ((36, "families of 36 null pairs"), (1, "one null pair alone")):
        print(f"\n{runs} runs; {title} with a pair called different, before → after, in %\n")
        header = [f"G = {g}" for g in SUBJECTS]
        print(f"| null | {' | '.join(header)} |\n|---|{'---:|' * len(header)}")
        for name in NULLS:
            cells = [family_errors(rng, name, runs=runs, subjects=g, pairs=pairs) for g in SUBJECTS]
            shown = (f"{percent(before)} → {percent(after)}" for before, after in cells)
            print(f"| {name} | {' | '.join(shown)} |", flush=True)


def ahead(gap: float, sd: float) -> Generator:
    """One of the nine is better by `gap`; normal noise of `sd`."""

    def scores(rng: np.random.Generator, runs: int, subjects: int) -> Floats:
        values = rng.normal(0, sd, (runs, subjects, NETWORKS))
        values[..., 0] += gap
        return values

    return scores


def power(rng: np.random.Generator, runs: int) -> None:
    """Shares of true differences that are found, before → after."""
    counts = SUBJECTS[1:]
    print(f"\n{runs} runs; true differences found in families of 36, before → after, in %\n")
    print(f"| differences | {' | '.join(f'G = {g}' for g in counts)} |\n|---|{'---:|' * 4}")
    for sd, gap in ((2, 3), (2, 5), (2, 8), (2, 12), (5, 5), (5, 8), (5, 12), (5, 20), (8, 20)):
        cells = []
        for g in counts:
            found = call(differences_of(ahead(gap / 100, sd / 100)(rng, runs, g)))
            cells.append((found.before[:, :8].mean(), found.after[:, :8].mean()))
        shown = (f"{percent(before)} → {percent(after)}" for before, after in cells)
        print(f"| {gap} points, noise {sd} points | {' | '.join(shown)} |", flush=True)
    for name in ("normal", "challenging"):
        cells = []
        for g in counts:
            scores = resampled(rng, runs, g, (name,), centred=False)
            found = call(differences_of(scores))
            cells.append((found.before.mean(), found.after.mean()))
        shown = (f"{percent(before)} → {percent(after)}" for before, after in cells)
        print(f"| recorded subjects, {name} set, all 36 pairs | {' | '.join(shown)} |", flush=True)


def equivalence(rng: np.random.Generator, runs: int) -> None:
    """How often a pair with rare failures, and an equal one, is called equivalent."""
    metric = METRICS["dice"]
    print(f"\n{runs} runs; one pair called equivalent within half a point, before → after, in %\n")
    print("| subjects | 5 % lose 30 points | equal, noise 1 point |\n|---:|---:|---:|")
    for subjects in (5, 12, 24, 40, 58, 59, 80, 120):
        design = design_limit(subjects, 1, ALPHA)
        counts = np.zeros((2, 2))
        for kind in (0, 1):
            for _ in range(runs):
                differences = rng.normal(0, 0.002 if kind == 0 else 0.01, subjects)
                if kind == 0:
                    differences -= 0.3 * (rng.random(subjects) < 0.05)
                alone = mean_interval(differences)
                adjusted = mean_interval(differences, method="t")
                assert alone is not None
                guarded = guard(0.0, subjects, FAILURE_LOSS, ALPHA)
                p = paired_t(differences).p
                now = decide(differences, p, adjusted, metric, design, guarded, None, (3, 3))
                inside = alone.low >= -0.005 and alone.high <= 0.005
                counts[kind] += [
                    inside and (p > ALPHA or design.limited),
                    now.verdict == "equivalent",
                ]
        cells = (f"{percent(b)} → {percent(a)}" for b, a in counts / runs)
        print(f"| {subjects} | {' | '.join(cells)} |", flush=True)


def seeds(rng: np.random.Generator, runs: int) -> None:
    """Networks that differ by their trainings alone: three seeds each, t over subjects and both."""
    print(f"\n{runs} runs; families of 36 null pairs with a t-test that rejects, three trainings\n")
    print("| subjects | spread of trainings / of subjects | over subjects | over both |")
    print("|---:|---:|---:|---:|")
    for subjects in (12, 24):
        for spread in (0.0, 0.2, 0.5, 1.0):
            wrong = np.zeros(2)
            for _ in range(runs):
                trained = rng.normal(0, spread, (NETWORKS, 1, 3))
                own = rng.normal(0, 1, (NETWORKS, subjects, 1))
                scores = trained + own + rng.normal(0, 0.3, (NETWORKS, subjects, 3))
                pooled = pooled_seed_variance(list(scores))
                p = np.array([_both_p(scores[a], scores[b], pooled) for a, b in PAIRS])
                wrong += holm_rejects(p.T).any(axis=1)
            cells = " | ".join(percent(share) for share in wrong / runs)
            print(f"| {subjects} | {spread:g} | {cells} |", flush=True)


def _both_p(a: Floats, b: Floats, pooled: SeedVariance | None) -> tuple[float, float]:
    over_subjects = paired_t((a - b).mean(axis=1)).p
    return over_subjects, max(over_subjects, hierarchical_t(a, b, pooled=pooled).p)


def ranks(rng: np.random.Generator, runs: int) -> None:
    """How often rank intervals hold the true ranks, of all networks and of each."""
    print(f"\n{runs} runs; 95 % intervals that hold the true rank, in %: each / all nine at once\n")
    print("| subjects | step between networks | resampled | from the verdicts |")
    print("|---:|---:|---:|---:|")
    names = [str(index) for index in range(NETWORKS)]
    for subjects in (12, 24):
        for step in (0.0, 0.005, 0.02):
            held = np.zeros((2, 2))
            true = competition_ranks(-step * np.arange(NETWORKS, dtype=np.float64))
            scores = rng.normal(0, 0.03, (runs, subjects, NETWORKS)) - step * np.arange(NETWORKS)
            found = call(differences_of(scores))
            for run in range(runs):
                ahead_of = [
                    (names[a], names[b]) if found.mean[run, k] > 0 else (names[b], names[a])
                    for k, (a, b) in enumerate(PAIRS)
                    if found.after[run, k]
                ]
                bounds = np.array(list(rank_bounds(names, ahead_of).values())).T
                drawn = resampled_over_seeds(list(scores[run].T[..., None]), 1000, run)
                percentiles = np.quantile(
                    competition_ranks(drawn), [0.025, 0.975], axis=0, method="inverted_cdf"
                )
                for row, (low, high) in enumerate((percentiles, bounds)):
                    # With equal networks any order is true: an interval must hold all ranks.
                    last = true if step else np.full(NETWORKS, NETWORKS)
                    inside = (low <= true) & (last <= high)
                    held[row] += inside.mean(), inside.all()
            cells = " | ".join(f"{percent(each)} / {percent(all_)}" for each, all_ in held / runs)
            print(f"| {subjects} | {100 * step:g} points | {cells} |", flush=True)


def clustered(rng: np.random.Generator, subjects: int, correlation: float) -> Floats:
    """Slice-wise values of mean 0 (subjects, SLICES) with that intra-class correlation."""
    between = rng.normal(0, np.sqrt(correlation), (subjects, 1))
    return between + rng.normal(0, np.sqrt(1 - correlation), (subjects, SLICES))


def slices(rng: np.random.Generator, runs: int) -> None:
    """Shares of true nulls rejected at 5 %: t over slices; over subjects t, sign-flip, Wilcoxon."""
    print(f"\n{runs} runs; true nulls rejected at 5 %, in %\n")
    print("| subjects | correlation | t over slices | t over subjects | sign-flip | Wilcoxon |")
    print("|---:|---:|---:|---:|---:|---:|")
    for subjects in (6, 12, 24):
        for correlation in (0.0, 0.1, 0.3, 0.5):
            rejected = np.zeros(4)
            for _ in range(runs):
                values = clustered(rng, subjects, correlation)
                means = values.mean(axis=1)
                tests = (paired_t(values.ravel()), paired_t(means), sign_flip(means))
                rejected += [each.p <= ALPHA for each in (*tests, wilcoxon(means))]
            cells = " | ".join(percent(share) for share in rejected / runs)
            print(f"| {subjects} | {correlation:g} | {cells} |", flush=True)


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


def intervals(rng: np.random.Generator, runs: int) -> None:
    """Coverage of the intervals of a mean."""
    print(f"\n{runs} runs; 95 % intervals that hold the true mean, in %\n")
    print("| subjects | differences | t | BCa | bootstrap |\n|---:|---|---:|---:|---:|")
    methods: tuple[Method, ...] = ("t", "bca", "bootstrap")
    for subjects in (6, 12, 30, 60):
        for skew in (False, True):
            shares = [coverage(rng, runs, subjects, each, skewed=skew) for each in methods]
            cells = " | ".join(percent(share) for share in shares)
            print(f"| {subjects} | {'skewed' if skew else 'normal'} | {cells} |", flush=True)


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


def latencies(rng: np.random.Generator, runs: int) -> None:
    """Coverage of the interval of a ratio of latencies."""
    print(f"\n{runs} runs; 95 % intervals that hold the true ratio of latencies, in %\n")
    print("| processes a side | coverage |\n|---:|---:|")
    for processes in (2, 3, 5, 10):
        print(f"| {processes} | {percent(ratio_coverage(rng, runs, processes))} |", flush=True)


def percent(value: float) -> str:
    return f"{100 * value:.1f}"


TABLES: Sequence[Callable[[np.random.Generator, int], None]] = (
    *(size, power, equivalence, seeds, ranks, slices, intervals, latencies),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    names = [table.__name__ for table in TABLES]
    parser.add_argument("--only", nargs="*", choices=names, default=names)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    for table in TABLES:
        if table.__name__ in options.only:
            # Each table has a stream of its own, so that one alone gives the same figures.
            stream = np.random.default_rng([options.seed, names.index(table.__name__)])
            table(stream, options.runs)


if __name__ == "__main__":
    main()
