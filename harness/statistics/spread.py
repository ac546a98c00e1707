"""Where scores vary: between seeds, between subjects, between networks and between frameworks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.metrics.catalogue import Over, metric_named
from harness.statistics.pairing import pair_scores

FEW_SEEDS = 3


@dataclass(frozen=True)
class SeedSpread:
    """Standard deviations in the metric's unit.

    `between_seeds_sd` is that of the mean over subjects, from training to training (None with one
    seed); `between_subjects_sd` that of the subjects' scores (None with one subject).
    """

    seeds: int
    few_seeds: bool
    per_seed: dict[int, float]
    between_seeds_sd: float | None
    between_subjects_sd: float | None


def seed_spread(by_subject: pd.DataFrame) -> SeedSpread:
    """The spread of one network; `by_subject` is (subjects, seeds), columns (network, seed)."""
    means = by_subject.mean(axis=0).droplevel(0)
    subjects = by_subject.mean(axis=1)
    seeds = len(means)
    return SeedSpread(
        seeds=seeds,
        few_seeds=seeds < FEW_SEEDS,
        per_seed={int(str(seed)): float(value) for seed, value in means.items()},
        between_seeds_sd=float(means.std(ddof=1)) if seeds > 1 else None,
        between_subjects_sd=float(subjects.std(ddof=1)) if len(subjects) > 1 else None,
    )


@dataclass(frozen=True)
class VarianceSplit:
    """Shares (0–1, summing to 1) of the variation of a set's mean score over cells.

    The layout is network × framework, of the networks that every framework has; `left_out` names
    the others. `seed_share` is None where the cells have one seed or unequally many: then the
    interaction holds the noise of training too. `largest_gap` is the widest difference between two
    frameworks on one network. All figures are None where there is no such layout, with the reason.
    """

    networks: tuple[str, ...]
    backends: tuple[str, ...]
    left_out: tuple[str, ...]
    network_share: float | None
    framework_share: float | None
    interaction_share: float | None
    seed_share: float | None
    largest_gap: float | None
    largest_gap_network: str | None
    reason: str | None
    sentence: str


def variance_split(
    slices: pd.DataFrame,
    metric: str = "dice",
    *,
    set_name: str = "normal",
    over: Over | None = None,
) -> VarianceSplit:
    """Split the variation between cells into network, framework, their interaction and seeds.

    `slices` has the columns of slices.parquet and network, backend, seed. Sums of squares of the
    two-way layout on the means over subjects (balanced, hence orthogonal).
    """
    chosen = metric_named(metric)
    rows = slices[slices["set"] == set_name]
    rows = rows.assign(cell=rows["network"].astype(str) + "\n" + rows["backend"].astype(str))
    backends = tuple(sorted(rows["backend"].unique()))
    per_network = rows.groupby("network")["backend"].nunique()
    networks = tuple(sorted(per_network.index[per_network == len(backends)]))
    left_out = tuple(sorted(set(per_network.index) - set(networks)))
    if len(backends) < 2 or len(networks) < 2:
        reason = "it takes two networks that two frameworks have both run"
        return _unsplit(networks, backends, left_out, reason)
    means = pair_scores(rows, "cell", chosen, over or chosen.over).by_subject().mean(axis=0)
    runs = {
        (network, backend): means.loc[f"{network}\n{backend}"].to_numpy(dtype=np.float64)
        for network in networks
        for backend in backends
    }
    cells = np.array([[runs[n, b].mean() for b in backends] for n in networks])
    squares, seed_squares = _sums_of_squares(cells, list(runs.values()))
    total = sum(squares) + (seed_squares or 0.0)
    if total <= 1e-20:
        return _unsplit(networks, backends, left_out, "all cells score the same")
    shares = [float(value / total) for value in squares]
    gaps = np.ptp(cells, axis=1)
    widest = int(gaps.argmax())
    sentence = (
        f"Of the variation between cells {100 * shares[0]:.0f} % lies between networks, "
        f"{100 * shares[1]:.0f} % between frameworks and {100 * shares[2]:.0f} % in their "
        f"interaction; the frameworks differ most on {networks[widest]}, by "
        f"{chosen.text(float(gaps[widest]))}."
    )
    if seed_squares is None:
        sentence += " With these seeds the interaction cannot be told from the noise of training."
    return VarianceSplit(
        networks,
        backends,
        left_out,
        *shares,
        seed_share=None if seed_squares is None else float(seed_squares / total),
        largest_gap=float(gaps[widest]),
        largest_gap_network=networks[widest],
        reason=None,
        sentence=sentence,
    )


def _sums_of_squares(
    cells: np.ndarray, runs: list[np.ndarray]
) -> tuple[tuple[float, float, float], float | None]:
    """Network, framework and interaction of `cells` (networks, frameworks), and seeds if equal."""
    grand = cells.mean()
    rows, columns = cells.mean(axis=1) - grand, cells.mean(axis=0) - grand
    rest = cells - grand - rows[:, None] - columns[None, :]
    counts = {len(each) for each in runs}
    balanced = len(counts) == 1 and counts != {1}
    seeds = counts.pop() if balanced else 1
    network = seeds * cells.shape[1] * float((rows**2).sum())
    framework = seeds * cells.shape[0] * float((columns**2).sum())
    within = sum(float(((each - each.mean()) ** 2).sum()) for each in runs) if balanced else None
    return (network, framework, seeds * float((rest**2).sum())), within


def _unsplit(
    networks: tuple[str, ...], backends: tuple[str, ...], left_out: tuple[str, ...], reason: str
) -> VarianceSplit:
    sentence = f"The variation cannot be split into networks and frameworks: {reason}."
    return VarianceSplit(
        networks, backends, left_out, None, None, None, None, None, None, reason, sentence
    )
