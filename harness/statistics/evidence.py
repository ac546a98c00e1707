"""The rule: what a difference must pass before one network is called better than another.

No single test of few differences keeps its level when they are skewed or when a few subjects fail:
Student's t takes them for normal, the sign-flip test and Wilcoxon's for symmetric. So all three
must agree, and the difference must be larger than failures could undo that so few subjects need not
have shown. docs/statistics.md has the error rates with and without.
"""

from __future__ import annotations

from dataclasses import dataclass

from harness.statistics.hierarchy import (
    ENOUGH_SEEDS,
    HierarchicalT,
    SeedVariance,
    hierarchical_t,
)
from harness.statistics.multiplicity import holm
from harness.statistics.paired import (
    Floats,
    PairedT,
    Permutation,
    paired_t,
    sign_flip,
    wilcoxon,
)


@dataclass(frozen=True)
class Evidence:
    """The tests of one pair, unadjusted; `p` is the largest of theirs and decides.

    A pair is rejected only if every test rejects it, so that this p keeps its level wherever one of
    the tests does. `over_seeds` is None with fewer than three seeds on a side.
    """

    t_test: PairedT
    sign_flip: Permutation
    wilcoxon: Permutation
    over_seeds: HierarchicalT | None

    @property
    def by_test(self) -> dict[str, float]:
        """Each test's p under its name."""
        found = {
            "t": self.t_test.p,
            "sign-flip": self.sign_flip.p,
            "Wilcoxon": self.wilcoxon.p,
        }
        if self.over_seeds:
            found["t over seeds and subjects"] = self.over_seeds.p
        return found

    @property
    def p(self) -> float:
        """The largest p of the tests."""
        return max(self.by_test.values())


def gather(
    a: Floats, b: Floats, *, level: float, seed: int, pooled: SeedVariance | None = None
) -> Evidence:
    """All tests of `a` minus `b`, each (subjects, seeds); the subjects' differences need spread.

    `pooled` is the variance between trainings of the whole family.
    """
    differences = a.mean(axis=1) - b.mean(axis=1)
    many = min(a.shape[1], b.shape[1]) >= ENOUGH_SEEDS
    return Evidence(
        paired_t(differences, level),
        sign_flip(differences, seed),
        wilcoxon(differences, seed),
        hierarchical_t(a, b, level, pooled) if many else None,
    )


def adjusted(family: list[Evidence | None]) -> list[dict[str, float]]:
    """Holm's p of each test and of the rule ("all") over a family; None is a test not made."""
    names = dict.fromkeys(name for each in family if each for name in each.by_test)
    columns = {n: holm([e.by_test.get(n) if e else None for e in family]) for n in names}
    columns["all"] = holm([each.p if each else None for each in family])
    return [
        {name: p for name, column in columns.items() if (p := column[index]) is not None}
        for index in range(len(family))
    ]
