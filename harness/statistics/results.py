"""What a comparison hands out: pairs, standings, families, and their flat rows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.errors import UsageError
from harness.metrics.aggregation import Quartiles
from harness.metrics.catalogue import Over
from harness.statistics.evidence import Evidence
from harness.statistics.guard import Guard
from harness.statistics.intervals import Interval
from harness.statistics.multiplicity import DesignLimit
from harness.statistics.paper import PaperTest
from harness.statistics.spread import SeedSpread
from harness.statistics.verdicts import OPPOSITE, Verdict

Between = Literal["network", "backend"]

# The columns of the tests' p values, and the names that `Evidence.by_test` has for them.
TEST_KEYS = {
    "t": "t",
    "sign_flip": "sign-flip",
    "wilcoxon": "Wilcoxon",
    "seeds_t": "t over seeds and subjects",
}


@dataclass(frozen=True)
class Pair:
    """Two contestants of one family; `difference` is a − b in the metric's unit.

    `p` is the rule's, the largest of the tests in `evidence`, all unadjusted; `p_holm` is Holm's
    over the family, `tests_holm` that of each test by name and of the rule under "all". `interval`
    holds for the pair alone, `family_interval` for all pairs of the family at once. With
    `subjects_to_decide` subjects a true difference like this one would be found four times in five.
    None if the test is undefined; `reason` says why. `verdict` is about `a`.
    """

    a: str
    b: str
    subjects: int
    mean_a: float | None
    mean_b: float | None
    difference: float | None
    interval: Interval | None
    family_interval: Interval | None
    evidence: Evidence | None
    p: float | None
    p_holm: float | None
    tests_holm: dict[str, float]
    guard: Guard
    detectable_difference: float | None
    subjects_to_decide: int | None
    paper: PaperTest
    verdict: Verdict
    reason: str
    caveats: tuple[str, ...]
    negligible: bool
    sentence: str

    @property
    def ordered(self) -> tuple[str, str] | None:
        """(better, worse) if the verdict tells them apart."""
        if self.verdict == "better":
            return self.a, self.b
        return (self.b, self.a) if self.verdict == "worse" else None


@dataclass(frozen=True)
class Standing:
    """One contestant: its mean over subjects with interval, its rank and its tiers.

    `by_subject` holds each subject's score, in the order of the subjects' names, which is the same
    for all contestants of a family.
    `quartiles` are of the subjects' scores. `rank_low` and `rank_high` are the ranks that the
    verdicts leave open, all at once with the family's confidence. `tiers` may be several: two
    contestants share one exactly if no verdict separates them. `rank_chances` is the share of
    resamples (of subjects, and of three seeds or more) with each rank, best first.
    """

    name: str
    mean: float
    by_subject: tuple[float, ...]
    interval: Interval | None
    quartiles: Quartiles
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
    """All pairs of one backend (or, with `between="backend"`, of one network).

    `by_brain` is the other ranking, (name, mean) over slices with brain alone; empty if that is
    what ranks or if all slices do.
    """

    within: str
    subjects: int
    design: DesignLimit
    standings: tuple[Standing, ...]
    pairs: tuple[Pair, ...]
    rank_stability: float | None
    rank_agreement: float | None
    by_brain: tuple[tuple[str, float], ...]
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


def _interval_row(interval: Interval | None, prefix: str = "ci") -> dict[str, Any]:
    return {
        f"{prefix}_low": interval.low if interval else None,
        f"{prefix}_high": interval.high if interval else None,
        f"{prefix}_method": interval.method if interval else None,
    }


def _pair_row(pair: Pair, design: DesignLimit) -> dict[str, Any]:
    paper = pair.paper
    return {
        "a": pair.a,
        "b": pair.b,
        "verdict": pair.verdict,
        "reason": pair.reason,
        "caveats": "; ".join(pair.caveats),
        "negligible": pair.negligible,
        "subjects": pair.subjects,
        "mean_a": pair.mean_a,
        "mean_b": pair.mean_b,
        "difference": pair.difference,
        **_interval_row(pair.interval),
        **_interval_row(pair.family_interval, "family_ci"),
        "p": pair.p,
        "p_holm": pair.p_holm,
        **_evidence_row(pair.evidence, pair.tests_holm),
        "family_size": design.family_size,
        "design_limited": design.limited,
        "detectable_difference": pair.detectable_difference,
        "guard_difference": pair.guard.least,
        "subjects_to_decide": pair.subjects_to_decide,
        "paper_test": paper.name,
        "paper_label": paper.label,
        "paper_metric": paper.metric,
        "paper_slices": paper.slices,
        "paper_t": paper.t,
        "paper_p": paper.p,
        "paper_significant": paper.significant,
        "sentence": pair.sentence,
    }


def _evidence_row(evidence: Evidence | None, holm: dict[str, float]) -> dict[str, Any]:
    """Every p that the verdict rests on, raw and adjusted, and the effect sizes."""
    test = evidence.t_test if evidence else None
    row: dict[str, Any] = {
        "t": test.t if test else None,
        "df": test.df if test else None,
        "d_z": test.d_z if test else None,
        "g_z": test.g_z if test else None,
        "sign_flip_exact": evidence.sign_flip.exact if evidence else None,
    }
    raw = evidence.by_test if evidence else {}
    for key, name in TEST_KEYS.items():
        row |= {f"{key}_p": raw.get(name), f"{key}_p_holm": holm.get(name)}
    return row


def _standing_row(standing: Standing) -> dict[str, Any]:
    spread = standing.seeds
    return {
        "mean": standing.mean,
        **_interval_row(standing.interval),
        "median": standing.quartiles.median,
        "quartile_low": standing.quartiles.low,
        "quartile_high": standing.quartiles.high,
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
