"""The comparison of networks: all pairs of a family, tested, adjusted, ranked and put in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from harness.errors import DataError, UsageError
from harness.metrics import check_values, coarse_tolerance, quartiles
from harness.metrics.catalogue import Metric, Over, metric_named
from harness.statistics.intervals import mean_interval
from harness.statistics.multiplicity import DesignLimit, design_limit
from harness.statistics.pairing import PairedScores, over_seeds, pair_scores, scores_of
from harness.statistics.pairs import PaperSlices, Terms, compare_pairs
from harness.statistics.paper import PAPER_SETS
from harness.statistics.ranks import rank_bounds, ranking, tiers
from harness.statistics.results import Between, Comparison, Family, Pair, Standing
from harness.statistics.spread import FEW_SEEDS, seed_spread
from harness.statistics.verdicts import Training

Trainings = Mapping[str, Mapping[str, Training]]
"""How long each contestant was trained, by family (backend) and contestant (network)"""


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
    trainings: Trainings | None = None,
    nsd_tolerance_mm: float | None = None,
    seed: int = 0,
) -> Comparison:
    """Compare all pairs on one metric and set; one family per backend.

    `slices` has the columns of slices.parquet and network, backend, seed, of one data set and
    protocol. `over` says which slices count (`harness.metrics.catalogue.Over`), by default as the
    metric is meant; `margin` the half-width of equivalence in the metric's unit, by default half a
    point, for HD95 none. `contestants` declares the families, each one by its name or all alike:
    those without a record are undefined and still count. `trainings` says how long each was
    trained: a pair whose trainings differ is undecided. `nsd_tolerance_mm` is the protocol's: below
    the pixel spacing NSD carries a note. `between="backend"` compares the frameworks within each
    network instead. Intervals have the level 1 − alpha. The same frame and seed give
    the same answer. UsageError for an unknown metric or set or a margin out of bounds, DataError
    if the records do not belong together or hold impossible scores.
    """
    chosen = metric_named(metric)
    chosen = chosen if margin is None else replace(chosen, margin=margin)
    _check(slices, chosen, set, over or chosen.over, alpha)
    within = "backend" if between == "network" else "network"
    settings = _Settings(
        chosen,
        set,
        over or chosen.over,
        between,
        alpha,
        contestants,
        trainings or {},
        nsd_tolerance_mm,
        seed,
    )
    own = slices[slices["set"] == set]
    families = tuple(
        _family(str(name), slices[slices[within] == name], settings)
        for name in sorted(own[within].unique())
    )
    return Comparison(metric, set, settings.over, between, alpha, chosen.margin, families)


LEAST_POINTS = 0.05
SPACING = ["spacing_y_mm", "spacing_x_mm"]


def margin_in_unit(margin: float | None, metric: str) -> float | None:
    """A margin as a user writes it, in points and for distances in mm, in the metric's own unit.

    UsageError for a margin that is finer than any test set can tell: it was meant as a fraction.
    """
    chosen = metric_named(metric)
    if margin is None or not chosen.higher_is_better:
        return margin
    if 0 < margin < LEAST_POINTS:
        raise UsageError(
            f"a margin of {margin:g} is in points of {chosen.title} and less than the "
            f"{LEAST_POINTS:g} that a test set can tell; half a point is 0.5"
        )
    return margin / 100


@dataclass(frozen=True)
class _Settings:
    metric: Metric
    set: str
    over: Over
    between: Between
    alpha: float
    contestants: Sequence[str] | Mapping[str, Sequence[str]] | None
    trainings: Trainings
    nsd_tolerance_mm: float | None
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


def _check(slices: pd.DataFrame, metric: Metric, set_name: str, over: Over, alpha: float) -> None:
    needed = {"network", "backend", "seed", "set", "subject", "stack", "slice", "brain_pixels"}
    needed |= {metric.name, *(["predicted_pixels"] if over == "alarms" else [])}
    missing = sorted(needed - {str(column) for column in slices.columns})
    if missing:
        raise DataError(f"the table of slices lacks {', '.join(missing)}; evaluate again")
    sets = sorted(slices["set"].unique())
    if set_name not in sets:
        raise UsageError(
            f"there is no set {set_name!r}; the records have {', '.join(sets) or 'none'}"
        )
    if not 0 < alpha < 1:
        raise UsageError(f"alpha must lie between 0 and 1, not {alpha}")
    margin = metric.margin
    if margin is not None and not 0 < margin <= metric.largest_margin:
        raise UsageError(
            f"the margin of equivalence in {metric.title} must be more than 0 and at most "
            f"{metric.text(metric.largest_margin)}, not {metric.text(margin)}"
        )
    check_values(slices, metric)


def _family(within: str, rows: pd.DataFrame, settings: _Settings) -> Family:
    own = rows[rows["set"] == settings.set]
    paired = pair_scores(own, settings.between, settings.metric, settings.over)
    by_subject = paired.by_subject()
    scores = scores_of(by_subject)
    names = sorted({*scores, *settings.declared(within)})
    size = len(names) * (len(names) - 1) // 2
    design = design_limit(len(by_subject), size, settings.alpha)
    terms = Terms(settings.metric, design, settings.trainings.get(within, {}), settings.seed)
    pairs = compare_pairs(names, scores, _paper_slices(rows, settings), terms)
    standings, stability, agreement = _standings(by_subject, pairs, paired, settings)
    by_brain = _order_by_brain(own, settings)
    return Family(
        within=within,
        subjects=len(by_subject),
        design=design,
        standings=standings,
        pairs=tuple(pairs),
        rank_stability=stability,
        rank_agreement=agreement,
        by_brain=by_brain,
        notes=tuple(_notes(own, paired, standings, names, design, settings, by_brain)),
    )


def _order_by_brain(own: pd.DataFrame, settings: _Settings) -> tuple[tuple[str, float], ...]:
    """The other ranking: over slices with brain alone, best first, without the false alarms."""
    if settings.over != "alarms":
        return ()
    means = pair_scores(own, settings.between, settings.metric, "brain").by_subject()
    mean = over_seeds(means).mean().sort_index()
    ordered = mean.sort_values(ascending=not settings.metric.higher_is_better, kind="stable")
    return tuple((str(name), float(value)) for name, value in ordered.items())


def _standings(
    by_subject: pd.DataFrame, pairs: list[Pair], paired: PairedScores, settings: _Settings
) -> tuple[tuple[Standing, ...], float | None, float | None]:
    """Standings from best to worst, the ranking's stability, and its agreement with mean ranks."""
    means = over_seeds(by_subject)
    names = [str(name) for name in means.columns]
    ranks = ranking(
        list(scores_of(by_subject).values()),
        higher_is_better=settings.metric.higher_is_better,
        seed=settings.seed,
    )
    order = sorted(range(len(names)), key=lambda index: (ranks.rank[index], names[index]))
    ahead = [p.ordered for p in pairs if p.ordered]
    shared = tiers([names[index] for index in order], {frozenset(each) for each in ahead})
    bounds = rank_bounds(names, ahead)
    standings = []
    for index in order:
        name = names[index]
        values = means[name].to_numpy(dtype=np.float64)
        standings.append(
            Standing(
                name=name,
                mean=float(values.mean()),
                by_subject=tuple(map(float, values)),
                interval=mean_interval(values, level=settings.level, seed=settings.seed),
                quartiles=quartiles(means[name]),
                rank=int(ranks.rank[index]),
                rank_low=bounds[name][0],
                rank_high=bounds[name][1],
                first_probability=float(ranks.first[index]),
                rank_chances=tuple(map(float, ranks.chances[index])),
                rank_by_ranks=int(ranks.by_ranks[index]),
                tiers=shared[name],
                seeds=seed_spread(by_subject.loc[:, [name]]),
                imputed_slices=paired.imputed.get(name, 0),
            )
        )
    return tuple(standings), ranks.stability, ranks.agreement


def _notes(
    own: pd.DataFrame,
    scores: PairedScores,
    standings: Sequence[Standing],
    names: list[str],
    design: DesignLimit,
    settings: _Settings,
    by_brain: Sequence[tuple[str, float]],
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
    tolerance = settings.nsd_tolerance_mm
    if settings.metric.name == "nsd" and tolerance and {*SPACING} <= {*own.columns}:
        sizes = own[SPACING].dropna().itertuples(index=False, name=None)
        coarse = coarse_tolerance(sizes, tolerance)
        notes += [coarse] if coarse else []
    if by_brain and by_brain[0][0] != standings[0].name:
        notes.append(
            f"without false alarms, over slices with brain alone, {by_brain[0][0]} would be first "
            f"and not {standings[0].name}"
        )
    return notes


def _paper_slices(rows: pd.DataFrame, settings: _Settings) -> PaperSlices:
    """The paper's metric where it has one of that kind, over all slices of both test sets."""
    name = f"paper_{settings.metric.name}"
    metric = metric_named(name) if name in rows.columns else settings.metric
    both = rows[rows["set"].isin(PAPER_SETS)]
    scores = over_seeds(pair_scores(both, settings.between, metric, "all").slices)
    columns = scores.to_numpy(dtype=np.float64).T
    return metric.name, dict(zip(map(str, scores.columns), columns, strict=True))
