"""The comparison of networks: all pairs of a family, tested, adjusted, ranked and put in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd

from harness.errors import DataError, UsageError
from harness.metrics.catalogue import Metric, Over, metric_named
from harness.statistics.intervals import mean_interval
from harness.statistics.multiplicity import DesignLimit, design_limit, holm
from harness.statistics.paired import (
    PairedT,
    Permutation,
    paired_t,
    sign_flip,
    why_undefined,
    wilcoxon,
)
from harness.statistics.pairing import PairedScores, over_seeds, pair_scores
from harness.statistics.paper import PAPER_SETS, paper_test
from harness.statistics.ranks import ranking, tiers
from harness.statistics.results import Between, Comparison, Family, Pair, Standing
from harness.statistics.spread import FEW_SEEDS, seed_spread
from harness.statistics.verdicts import inside_margin, sentence, verdict_of

_PaperSlices = tuple[str, dict[str, np.ndarray]]
"""The metric of the paper's test, and each contestant's scores (slices,)"""


def compare(
    slices: pd.DataFrame,
    metric: str = "dice",
    set: str = "normal",
    *,
    between: Between = "network",
    over: Over | None = None,
    alpha: float = 0.05,
    margin: float | None = None,
    contestants: Sequence[str] | Mapping[str, Sequence[str]] | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare all pairs on one metric and set; one family per backend.

    `slices` has the columns of slices.parquet and network, backend, seed, of one data set and
    protocol. `over` is "brain" (slices with brain in the reference) or "all", by default as the
    metric is meant; `margin` the half-width of equivalence in the metric's unit, by default half a
    point, for HD95 none. `contestants` declares the families, each one by its name or all alike:
    those without a record are undefined and still count. `between="backend"` compares the
    frameworks within each network instead. Intervals have the level 1 − alpha. The same frame and
    seed give the same answer. UsageError for an unknown metric or set, DataError where the records
    do not belong together.
    """
    chosen = metric_named(metric)
    chosen = chosen if margin is None else replace(chosen, margin=margin)
    _check(slices, metric, set, alpha, chosen.margin)
    within = "backend" if between == "network" else "network"
    settings = _Settings(chosen, set, over or chosen.over, between, alpha, contestants, seed)
    own = slices[slices["set"] == set]
    families = tuple(
        _family(str(name), slices[slices[within] == name], settings)
        for name in sorted(own[within].unique())
    )
    return Comparison(metric, set, settings.over, between, alpha, chosen.margin, families)


@dataclass(frozen=True)
class _Settings:
    metric: Metric
    set: str
    over: Over
    between: Between
    alpha: float
    contestants: Sequence[str] | Mapping[str, Sequence[str]] | None
    seed: int

    def declared(self, within: str) -> Sequence[str]:
        """The contestants that the family `within` was declared to have."""
        if isinstance(self.contestants, Mapping):
            return self.contestants.get(within, ())
        return self.contestants or ()

    @property
    def level(self) -> float:
        """Of the confidence intervals, so that they say what the tests at alpha say."""
        return 1 - self.alpha


def _check(
    slices: pd.DataFrame, metric: str, set_name: str, alpha: float, margin: float | None
) -> None:
    needed = {"network", "backend", "seed", "set", "subject", "stack", "slice", "brain_pixels"}
    missing = sorted((needed | {metric}) - {str(column) for column in slices.columns})
    if missing:
        raise DataError(f"the table of slices lacks {', '.join(missing)}; evaluate again")
    sets = sorted(slices["set"].unique())
    if set_name not in sets:
        raise UsageError(
            f"there is no set {set_name!r}; the records have {', '.join(sets) or 'none'}"
        )
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie between 0 and 1, not {alpha}")
    if margin is not None and not margin > 0:
        raise UsageError(f"the margin of equivalence must be positive, not {margin}")


def _family(within: str, rows: pd.DataFrame, settings: _Settings) -> Family:
    own = rows[rows["set"] == settings.set]
    scores = pair_scores(own, settings.between, settings.metric, settings.over)
    by_subject = scores.by_subject()
    means = over_seeds(by_subject)
    names = sorted({*map(str, means.columns), *settings.declared(within)})
    size = len(names) * (len(names) - 1) // 2
    design = design_limit(len(means), size, settings.alpha)
    pairs = _pairs(names, means, _paper_slices(rows, settings), design, settings)
    standings, stability, agreement = _standings(by_subject, pairs, scores, settings)
    return Family(
        within=within,
        subjects=len(means),
        design=design,
        standings=standings,
        pairs=tuple(pairs),
        rank_stability=stability,
        rank_agreement=agreement,
        notes=tuple(_notes(own, scores, standings, names, design, settings)),
    )


def _standings(
    by_subject: pd.DataFrame, pairs: list[Pair], scores: PairedScores, settings: _Settings
) -> tuple[tuple[Standing, ...], float | None, float | None]:
    """Standings from best to worst, the ranking's stability, and its agreement with mean ranks."""
    means = over_seeds(by_subject)
    values = means.to_numpy(dtype=np.float64)
    names = [str(name) for name in means.columns]
    ranks = ranking(values, higher_is_better=settings.metric.higher_is_better, seed=settings.seed)
    order = sorted(range(len(names)), key=lambda index: (ranks.rank[index], names[index]))
    separated = {
        frozenset((pair.a, pair.b)) for pair in pairs if pair.verdict in ("better", "worse")
    }
    shared = tiers([names[index] for index in order], separated)
    standings = tuple(
        Standing(
            name=names[index],
            mean=float(values[:, index].mean()),
            interval=mean_interval(values[:, index], level=settings.level, seed=settings.seed),
            rank=int(ranks.rank[index]),
            rank_low=int(ranks.low[index]),
            rank_high=int(ranks.high[index]),
            first_probability=float(ranks.first[index]),
            rank_chances=tuple(map(float, ranks.chances[index])),
            rank_by_ranks=int(ranks.by_ranks[index]),
            tiers=shared[names[index]],
            seeds=seed_spread(by_subject.loc[:, [names[index]]]),
            imputed_slices=scores.imputed.get(names[index], 0),
        )
        for index in order
    )
    return standings, ranks.stability, ranks.agreement


def _notes(
    own: pd.DataFrame,
    scores: PairedScores,
    standings: Sequence[Standing],
    names: list[str],
    design: DesignLimit,
    settings: _Settings,
) -> list[str]:
    """What a reader must know of a family beside its numbers."""
    notes = [design.sentence] if design.sentence and design.family_size else []
    if scores.imputed:
        worst = "0" if settings.metric.higher_is_better else "the largest distance of the family"
        counts = ", ".join(f"{name} {count}" for name, count in scores.imputed.items())
        notes.append(f"slices without a score count as the worst ({worst}): {counts}")
    few = [standing.name for standing in standings if standing.seeds.few_seeds]
    if few:
        notes.append(f"few seeds (below {FEW_SEEDS}): {', '.join(few)}")
    absent = sorted({*names} - {standing.name for standing in standings})
    if absent:
        notes.append(f"no record of {', '.join(absent)}; counted in the family all the same")
    without = own["subject"].nunique() - design.subjects
    if without:
        notes.append(f"{without} subjects have no slice with brain and no part in these means")
    return notes


def _paper_slices(rows: pd.DataFrame, settings: _Settings) -> _PaperSlices:
    """The paper's metric where it has one of that kind, over all slices of both test sets."""
    name = f"paper_{settings.metric.name}"
    metric = metric_named(name) if name in rows.columns else settings.metric
    both = rows[rows["set"].isin(PAPER_SETS)]
    scores = over_seeds(pair_scores(both, settings.between, metric, "all").slices)
    columns = scores.to_numpy(dtype=np.float64).T
    return metric.name, dict(zip(map(str, scores.columns), columns, strict=True))


@dataclass(frozen=True)
class _Tests:
    """Everything of one pair that needs no other pair."""

    a: str
    b: str
    undefined: str | None
    differences: np.ndarray
    t: PairedT | None = None
    flip: Permutation | None = None
    signed_ranks: Permutation | None = None


def _tests(a: str, b: str, means: pd.DataFrame, settings: _Settings) -> _Tests:
    absent = [name for name in (a, b) if name not in means.columns]
    if absent:
        return _Tests(a, b, f"there is no record of {' and '.join(absent)}", np.empty(0))
    differences = means[a].to_numpy(dtype=np.float64) - means[b].to_numpy(dtype=np.float64)
    undefined = why_undefined(differences)
    if undefined:
        return _Tests(a, b, undefined, differences)
    return _Tests(
        a,
        b,
        None,
        differences,
        paired_t(differences, settings.level),
        sign_flip(differences, settings.seed),
        wilcoxon(differences, settings.seed),
    )


def _pairs(
    names: list[str],
    means: pd.DataFrame,
    paper: _PaperSlices,
    design: DesignLimit,
    settings: _Settings,
) -> list[Pair]:
    tests = [_tests(a, b, means, settings) for a, b in combinations(names, 2)]
    adjusted = zip(
        holm([each.t.p if each.t else None for each in tests]),
        holm([each.flip.p if each.flip else None for each in tests]),
        holm([each.signed_ranks.p if each.signed_ranks else None for each in tests]),
        strict=True,
    )
    return [
        _pair(each, p_holm, means, paper, design, settings)
        for each, p_holm in zip(tests, adjusted, strict=True)
    ]


def _pair(
    tests: _Tests,
    p_holm: tuple[float | None, float | None, float | None],
    means: pd.DataFrame,
    paper: _PaperSlices,
    design: DesignLimit,
    settings: _Settings,
) -> Pair:
    a, b, metric = tests.a, tests.b, settings.metric
    mean_a, mean_b = (float(means[n].mean()) if n in means.columns else None for n in (a, b))
    interval = None
    if tests.t:
        interval = mean_interval(tests.differences, level=settings.level, seed=settings.seed)
    difference = float(tests.differences.mean()) if len(tests.differences) else None
    detectable, verdict, reason = None, "undefined", tests.undefined or ""
    if tests.t and p_holm[0] is not None:
        gain = tests.t.difference if metric.higher_is_better else -tests.t.difference
        verdict, reason = verdict_of(gain, p_holm[0], interval, metric.margin, design)
        if design.detectable_dz is not None:
            detectable = design.detectable_dz * float(tests.differences.std(ddof=1))
    paper_metric, slices = paper
    apart = slices[a] - slices[b] if a in slices and b in slices else np.empty(0)
    return Pair(
        a=a,
        b=b,
        subjects=len(tests.differences),
        mean_a=mean_a,
        mean_b=mean_b,
        difference=difference,
        interval=interval,
        t_test=tests.t,
        t_p_holm=p_holm[0],
        sign_flip=tests.flip,
        sign_flip_p_holm=p_holm[1],
        wilcoxon=tests.signed_ranks,
        wilcoxon_p_holm=p_holm[2],
        detectable_difference=detectable,
        paper=paper_test(apart, paper_metric),
        verdict=verdict,
        reason=reason,
        negligible=inside_margin(interval, metric.margin),
        sentence=sentence(a, b, metric, difference, interval, verdict, reason, design),
    )
