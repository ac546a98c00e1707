"""What a comparison hands out: pairs, standings, families, and their flat rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.errors import UsageError
from harness.metrics.catalogue import Over
from harness.statistics.intervals import Interval
from harness.statistics.multiplicity import DesignLimit
from harness.statistics.paired import PairedT, Permutation
from harness.statistics.paper import PaperTest
from harness.statistics.spread import SeedSpread
from harness.statistics.verdicts import OPPOSITE, Verdict

Between = Literal["network", "backend"]


@dataclass(frozen=True)
class Pair:
    """Two contestants of one family; `difference` is a − b in the metric's unit.

    A p under its plain name is unadjusted; `_holm` is adjusted over the family. None stands
    where the test is undefined, `reason` says why. `verdict` is about `a`.
    """

    a: str
    b: str
    subjects: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    interval: Interval | None
    t_test: PairedT | None
    t_p_holm: float | None
    sign_flip: Permutation | None
    sign_flip_p_holm: float | None
    wilcoxon: Permutation | None
    wilcoxon_p_holm: float | None
    detectable_difference: float | None
    paper: PaperTest
    verdict: Verdict
    reason: str
    negligible: bool
    sentence: str


@dataclass(frozen=True)
class Standing:
    """One contestant: its mean over subjects with interval, its rank and its tiers.

    `tiers` may be several: two contestants share one exactly where Holm does not separate them.
    `rank_chances` is the probability of each rank, best first, over resampled subjects.
    """

    name: str
    mean: float
    interval: Interval | None
    rank: int
    rank_low: int
    rank_high: int
    first_probability: float
    rank_chances: tuple[float, ...]
    rank_by_ranks: int
    tiers: tuple[int, ...]
    seeds: SeedSpread
    imputed_slices: int


@dataclass(frozen=True)
class Family:
    """All pairs of one backend (or, with `between="backend"`, of one network)."""

    within: str
    subjects: int
    design: DesignLimit
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    rank_stability: float | None
    rank_agreement: float | None
    notes: tuple[str, ...]

    def verdict(self, a: str, b: str) -> Verdict:
        """The verdict about `a` against `b`, in whichever order the pair is kept."""
        for pair in self.pairs:
            if (pair.a, pair.b) == (a, b):
                return pair.verdict
            if (pair.a, pair.b) == (b, a):
                return OPPOSITE.get(pair.verdict, pair.verdict)
        raise UsageError(f"{a} and {b} were not compared in {self.within}")


@dataclass(frozen=True)
class Comparison:
    """The answer of `compare`."""

    metric: str
    set: str
    over: Over
    between: Between
    alpha: float
    margin: float | None
    families: tuple[Family, ...]

    def rows(self) -> list[dict[str, Any]]:
        """One flat row a pair, for a table, CSV or JSON: numbers, texts and None only."""
        within = "backend" if self.between == "network" else "network"
        shared = {"metric": self.metric, "set": self.set, "over": self.over}
        return [
            {within: family.within, **shared, **_pair_row(pair, family.design)}
            for family in self.families
            for pair in family.pairs
        ]

    def standing_rows(self) -> list[dict[str, Any]]:
        """One flat row a contestant: mean, interval, rank interval, tiers, seeds."""
        within = "backend" if self.between == "network" else "network"
        return [
            {within: family.within, self.between: standing.name, **_standing_row(standing)}
            for family in self.families
            for standing in family.standings
        ]

    def as_dict(self) -> dict[str, Any]:
        """Everything, as strict JSON takes it."""
        return asdict(self)

    def sentences(self) -> list[str]:
        """The plain-language sentence of each pair, in the order of `rows`."""
        return [pair.sentence for family in self.families for pair in family.pairs]


def _interval_row(interval: Interval | None) -> dict[str, Any]:
    return {
        "ci_low": interval.low if interval else None,
        "ci_high": interval.high if interval else None,
        "ci_method": interval.method if interval else None,
    }


def _pair_row(pair: Pair, design: DesignLimit) -> dict[str, Any]:
    test, flip, ranks, paper = pair.t_test, pair.sign_flip, pair.wilcoxon, pair.paper
    return {
        "a": pair.a,
        "b": pair.b,
        "verdict": pair.verdict,
        "reason": pair.reason,
        "negligible": pair.negligible,
        "subjects": pair.subjects,
        "mean_a": pair.mean_a,
        "mean_b": pair.mean_b,
        "difference": pair.difference,
        **_interval_row(pair.interval),
        "t": test.t if test else None,
        "df": test.df if test else None,
        "p": test.p if test else None,
        "p_holm": pair.t_p_holm,
        "d_z": test.d_z if test else None,
        "g_z": test.g_z if test else None,
        "sign_flip_p": flip.p if flip else None,
        "sign_flip_p_holm": pair.sign_flip_p_holm,
        "sign_flip_exact": flip.exact if flip else None,
        "wilcoxon_p": ranks.p if ranks else None,
        "wilcoxon_p_holm": pair.wilcoxon_p_holm,
        "family_size": design.family_size,
        "design_limited": design.limited,
        "detectable_difference": pair.detectable_difference,
        "paper_test": paper.name,
        "paper_label": paper.label,
        "paper_metric": paper.metric,
        "paper_slices": paper.slices,
        "paper_t": paper.t,
        "paper_p": paper.p,
        "paper_significant": paper.significant,
        "sentence": pair.sentence,
    }


def _standing_row(standing: Standing) -> dict[str, Any]:
    spread = standing.seeds
    return {
        "mean": standing.mean,
        **_interval_row(standing.interval),
        "rank": standing.rank,
        "rank_low": standing.rank_low,
        "rank_high": standing.rank_high,
        "first_probability": standing.first_probability,
        "rank_by_ranks": standing.rank_by_ranks,
        "tiers": ", ".join(map(str, standing.tiers)),
        "seeds": spread.seeds,
        "few_seeds": spread.few_seeds,
        "between_seeds_sd": spread.between_seeds_sd,
        "between_subjects_sd": spread.between_subjects_sd,
        "imputed_slices": standing.imputed_slices,
    }
