"""Does the ranking depend on the metric? And the subjects behind one pair, dot by dot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from harness.errors import UsageError
from harness.metrics.catalogue import Over, metric_named
from harness.statistics.pairing import over_seeds, pair_scores
from harness.statistics.ranks import competition_ranks, kendall_tau


@dataclass(frozen=True)
class AcrossMetrics:
    """The ranks of each network by each metric, and how well each metric's agree with the first's.

    `ranks` holds (network, ranks in the order of `metrics`), best by the first metric first;
    `agreement` Kendall's τ-b with the first (None if all tie). `first_by` names the winners by
    each metric: robust is a ranking whose winner is the same in all.
    """

    metrics: tuple[str, ...]
    ranks: tuple[tuple[str, tuple[int, ...]], ...]
    agreement: tuple[float | None, ...]
    first_by: tuple[tuple[str, ...], ...]

    @property
    def same_winner(self) -> bool:
        """Whether one network is first by every metric."""
        return bool(set.intersection(*map(set, self.first_by)))


def across_metrics(
    slices: pd.DataFrame,
    *,
    set_name: str = "normal",
    metrics: Sequence[str] = ("dice", "iou", "nsd", "hd95_mm", "precision", "recall"),
) -> AcrossMetrics:
    """Rank the networks of one backend by each metric that the slices have.

    `slices` as for `compare`, of one backend. Each metric is taken over the slices it is meant
    for. UsageError if none of `metrics` is there or `slices` hold several backends.
    """
    if slices["backend"].nunique() > 1:
        raise UsageError("ranks across metrics are those of one backend; pass its slices alone")
    present = tuple(name for name in metrics if name in slices and slices[name].notna().any())
    if not present:
        raise UsageError(f"the slices have none of {', '.join(metrics)}")
    own = slices[slices["set"] == set_name]
    columns, names = [], []
    for name in present:
        metric = metric_named(name)
        means = over_seeds(pair_scores(own, "network", metric, metric.over).by_subject()).mean()
        names = [str(network) for network in means.index]
        values = means.to_numpy(dtype=np.float64)
        columns.append(competition_ranks(values if metric.higher_is_better else -values))
    table = np.stack(columns, axis=1)
    taus = [float(kendall_tau(table[:, 0].astype(float), each.astype(float))) for each in columns]
    order = sorted(range(len(names)), key=lambda index: (table[index, 0], names[index]))
    return AcrossMetrics(
        metrics=present,
        ranks=tuple((names[i], tuple(map(int, table[i]))) for i in order),
        agreement=tuple(tau if np.isfinite(tau) else None for tau in taus),
        first_by=tuple(tuple(names[i] for i in order if column[i] == 1) for column in columns),
    )


@dataclass(frozen=True)
class Dot:
    """One subject in a plot of paired dots: both scores and a − b, in the metric's unit."""

    subject: str
    a: float
    b: float
    difference: float


def paired_dots(
    slices: pd.DataFrame,
    a: str,
    b: str,
    metric: str = "dice",
    *,
    set_name: str = "normal",
    over: Over | None = None,
) -> tuple[Dot, ...]:
    """The subjects' scores behind the comparison of two networks, from the worst for `a` on.

    `slices` as for `compare`, of one backend; pass all its networks, so that failed slices get the
    values that the comparison gives them. UsageError for an unknown metric or network.
    """
    chosen = metric_named(metric)
    own = slices[slices["set"] == set_name]
    means = over_seeds(pair_scores(own, "network", chosen, over or chosen.over).by_subject())
    for name in (a, b):
        if name not in means:
            raise UsageError(f"there is no record of {name} on the {set_name} set")
    sign = 1 if chosen.higher_is_better else -1
    apart = (sign * (means[a] - means[b])).sort_values(kind="stable").index
    return tuple(
        Dot(str(subject), float(x), float(y), float(x - y))
        for subject, x, y in zip(apart, means.loc[apart, a], means.loc[apart, b], strict=True)
    )
