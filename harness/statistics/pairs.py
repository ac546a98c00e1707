"""All pairs of a family: tested, adjusted, judged and put in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import combinations

import numpy as np

from harness.metrics.catalogue import Metric
from harness.statistics.evidence import Evidence, adjusted, gather
from harness.statistics.guard import Guard, guard, largest_deviation
from harness.statistics.hierarchy import SeedVariance, hierarchical_t, pooled_seed_variance
from harness.statistics.intervals import Interval, mean_interval
from harness.statistics.multiplicity import DesignLimit
from harness.statistics.paired import Floats, why_undefined
from harness.statistics.paper import paper_test
from harness.statistics.power import subjects_to_decide
from harness.statistics.results import Pair
from harness.statistics.sentences import sentence
from harness.statistics.verdicts import (
    Decision,
    Training,
    decide,
    inside_margin,
    unequal_training,
)

PaperSlices = tuple[str, dict[str, Floats]]
"""The metric of the paper's test, and each contestant's scores (slices,)"""


@dataclass(frozen=True)
class Terms:
    """On what terms the pairs of one family are compared."""

    metric: Metric
    design: DesignLimit
    trainings: Mapping[str, Training]
    seed: int

    @property
    def level(self) -> float:
        """Of an interval of one pair alone."""
        return 1 - self.design.alpha

    @property
    def family_level(self) -> float:
        """Of the intervals that hold for the whole family at once (Bonferroni)."""
        return 1 - self.design.alpha / max(1, self.design.family_size)


@dataclass(frozen=True)
class _Tested:
    """Everything of one pair that needs no other pair; `a_scores` is (subjects, seeds)."""

    a: str
    b: str
    undefined: str | None
    a_scores: Floats = field(default_factory=lambda: np.empty((0, 1)))
    b_scores: Floats = field(default_factory=lambda: np.empty((0, 1)))
    pooled: SeedVariance | None = None
    evidence: Evidence | None = None

    @property
    def differences(self) -> Floats:
        """Of the subjects, a − b (subjects,)."""
        if not len(self.a_scores):
            return np.empty(0)
        return self.a_scores.mean(axis=1) - self.b_scores.mean(axis=1)


def compare_pairs(
    names: list[str], scores: Mapping[str, Floats], paper: PaperSlices, terms: Terms
) -> list[Pair]:
    """All pairs of `names`; `scores` (subjects, seeds) of those that have a record."""
    pooled = pooled_seed_variance(list(scores.values()))
    tested = [_test(a, b, scores, pooled, terms) for a, b in combinations(names, 2)]
    p_holm = adjusted([each.evidence for each in tested])
    guarded = guard(
        largest_deviation([each.differences for each in tested if each.evidence]),
        terms.design.subjects,
        terms.metric.failure_loss,
        terms.design.alpha,
    )
    return [
        _pair(each, p, guarded, paper, scores, terms)
        for each, p in zip(tested, p_holm, strict=True)
    ]


def _test(
    a: str, b: str, scores: Mapping[str, Floats], pooled: SeedVariance | None, terms: Terms
) -> _Tested:
    absent = [name for name in (a, b) if name not in scores]
    if absent:
        return _Tested(a, b, f"there is no record of {' and '.join(absent)}")
    pair = _Tested(a, b, None, scores[a], scores[b])
    undefined = why_undefined(pair.differences)
    if undefined:
        return _Tested(a, b, undefined, scores[a], scores[b])
    evidence = gather(scores[a], scores[b], level=terms.level, seed=terms.seed, pooled=pooled)
    return _Tested(a, b, None, scores[a], scores[b], pooled, evidence)


def _pair(
    tested: _Tested,
    p_holm: dict[str, float],
    guarded: Guard,
    paper: PaperSlices,
    scores: Mapping[str, Floats],
    terms: Terms,
) -> Pair:
    a, b, metric, design = tested.a, tested.b, terms.metric, terms.design
    differences, evidence = tested.differences, tested.evidence
    decision = Decision("undefined", tested.undefined or "")
    alone = together = detectable = needed = None
    unequal = unequal_training({name: terms.trainings.get(name) for name in (a, b)})
    if evidence:
        alone, together = _intervals(tested, terms)
        spread = float(differences.std(ddof=1))
        if design.detectable_dz is not None:
            detectable = max(design.detectable_dz * spread, guarded.least)
        needed = subjects_to_decide(
            float(differences.mean()),
            spread,
            family_size=design.family_size,
            alpha=design.alpha,
            loss=guarded.loss,
        )
        decision = decide(
            differences,
            p_holm["all"],
            together,
            metric,
            design,
            guarded,
            unequal,
            (tested.a_scores.shape[1], tested.b_scores.shape[1]),
        )
    difference = float(differences.mean()) if len(differences) else None
    raw = evidence.by_test if evidence else {}
    paper_metric, slices = paper
    apart = slices[a] - slices[b] if a in slices and b in slices else np.empty(0)
    return Pair(
        a=a,
        b=b,
        subjects=len(differences),
        mean_a=float(scores[a].mean()) if a in scores else None,
        mean_b=float(scores[b].mean()) if b in scores else None,
        difference=difference,
        interval=alone,
        family_interval=together,
        evidence=evidence,
        p=evidence.p if evidence else None,
        p_holm=p_holm.get("all"),
        tests_holm=p_holm,
        guard=guarded,
        detectable_difference=detectable,
        subjects_to_decide=needed,
        paper=paper_test(apart, paper_metric),
        verdict=decision.verdict,
        reason=decision.reason,
        caveats=decision.caveats,
        negligible=inside_margin(alone, metric.margin),
        sentence=sentence(
            *(a, b, metric, difference, (alone, together), decision, raw, design),
            # More subjects do not make trainings equal.
            needed=None if unequal else needed,
        ),
    )


def _intervals(tested: _Tested, terms: Terms) -> tuple[Interval | None, Interval | None]:
    """Of the pair alone and, always by Student's t, adjusted for the family.

    With seeds in the verdict both are over seeds and subjects.
    """
    if tested.evidence and tested.evidence.over_seeds:
        a, b = tested.a_scores, tested.b_scores
        return (
            tested.evidence.over_seeds.interval,
            hierarchical_t(a, b, terms.family_level, tested.pooled).interval,
        )
    # A bootstrap would need a hundred times the resamples for tails as far out as the family's.
    return (
        mean_interval(tested.differences, level=terms.level, seed=terms.seed),
        mean_interval(tested.differences, level=terms.family_level, method="t"),
    )
