"""`compare` from the table of slices to verdicts, sentences and flat rows; the variance split."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.errors import DataError, UsageError
from harness.metrics import subject_means
from harness.statistics.comparison import compare
from harness.statistics.paper import PAPER_LABEL
from harness.statistics.results import Comparison, Pair
from harness.statistics.spread import variance_split


def slice_table(
    means: dict[str, float],
    *,
    subjects: int = 14,
    backends: dict[str, float] | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    noise: float = 0.004,
    rng_seed: int = 0,
) -> pd.DataFrame:
    """Slices of two sets: 2 stacks a subject, 4 slices a stack, the last without brain.

    A subject's own difficulty is common to all networks; `noise` is the spread of each network's
    subject means, so that differences are known to about noise / √subjects.
    """
    rng = np.random.default_rng(rng_seed)
    rows = []
    for set_name in ("normal", "challenging"):
        difficulty = rng.normal(0, 0.03, subjects)
        for network, mean in means.items():
            own = rng.normal(0, noise, subjects)
            for backend, shift in (backends or {"torch": 0.0}).items():
                for seed in seeds:
                    drift = rng.normal(0, noise / 10)
                    for subject, stack, index in np.ndindex(subjects, 2, 4):
                        brain = index < 3
                        dice = mean + shift + drift + difficulty[subject] + own[subject]
                        dice += rng.normal(0, 0.0005)
                        rows.append(
                            {
                                "network": network,
                                "backend": backend,
                                "seed": seed,
                                "set": set_name,
                                "subject": f"sub-{subject:02}",
                                "stack": f"sub-{subject:02}_run-{stack}",
                                "slice": index,
                                "dice": dice if brain else 1.0,
                                "paper_dice": dice / 2 + 0.5 if brain else 1.0,
                                "hd95_mm": 20 * (1 - dice) if brain else 0.0,
                                "case": "scored" if brain else "empty_agreed",
                                "brain_pixels": 100 if brain else 0,
                                "predicted_pixels": 100 if brain else 0,
                            }
                        )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def three() -> pd.DataFrame:
    return slice_table({"fast": 0.85, "middle": 0.8505, "slow": 0.88})


def only_pair(comparison: Comparison, a: str, b: str) -> Pair:
    (found,) = [p for f in comparison.families for p in f.pairs if (p.a, p.b) == (a, b)]
    return found


def test_the_unit_is_the_subject(three: pd.DataFrame) -> None:
    pair = only_pair(compare(three), "fast", "slow")
    own = three[three["set"] == "normal"]
    by_hand = [
        np.mean([subject_means(rows, "dice") for _, rows in of_network.groupby("seed")], axis=0)
        for _, of_network in own[own["network"] != "middle"].groupby("network")
    ]
    differences = by_hand[0] - by_hand[1]
    assert pair.subjects == 14
    assert pair.difference == pytest.approx(differences.mean())
    assert pair.t_test is not None
    assert pair.t_test.df == 13
    assert pair.t_test.t == pytest.approx(
        differences.mean() / (differences.std(ddof=1) / np.sqrt(14))
    )


def test_a_long_stack_weighs_no_more_than_a_short_one(three: pd.DataFrame) -> None:
    """Slice → stack → subject: one stack of ten times the slices does not pull the subject."""
    long = three[(three["stack"] == "sub-00_run-0") & (three["slice"] == 0)]
    copies = [long.assign(slice=10 + i, dice=0.0) for i in range(30)]
    own = (three["set"] == "normal") & (three["subject"] == "sub-00")
    first = three[own & (three["brain_pixels"] > 0) & (three["network"] == "fast")]
    stacks = first.groupby("stack")["dice"].agg(["sum", "count"])
    count = stacks["count"] + [30 * 3, 0]  # three seeds
    expected = (stacks["sum"] / count).mean()
    before = first.groupby("stack")["dice"].mean().mean()
    means = [
        only_pair(compare(table), "fast", "slow").mean_a
        for table in (three, pd.concat([three, *copies]))
    ]
    assert means[0] is not None
    assert means[1] is not None
    assert means[1] - means[0] == pytest.approx((expected - before) / 14)


def test_verdicts(three: pd.DataFrame) -> None:
    (family,) = compare(three).families
    assert family.verdict("slow", "fast") == "better"
    assert family.verdict("fast", "slow") == "worse"
    assert family.verdict("fast", "middle") == family.verdict("middle", "fast")
    assert family.verdict("fast", "middle") in ("equivalent", "undecided")
    assert family.standings[0].name == "slow"
    assert family.standings[0].tiers == (1,)
    assert family.standings[1].tiers == family.standings[2].tiers == (2,)
    with pytest.raises(UsageError, match="unet"):
        family.verdict("fast", "unet")


def test_equivalent_needs_the_whole_interval_inside_the_margin() -> None:
    table = slice_table({"a": 0.85, "b": 0.85}, noise=0.001)
    pair = only_pair(compare(table), "a", "b")
    assert pair.verdict == "equivalent"
    assert "equivalent within ±0.50 points of Dice" in pair.sentence
    tight = only_pair(compare(table, margin=1e-5), "a", "b")
    assert tight.verdict == "undecided"
    assert "does not show that they are equal" in tight.sentence


def test_a_real_difference_may_still_be_negligible() -> None:
    pair = only_pair(compare(slice_table({"a": 0.852, "b": 0.85}, noise=0.0005)), "a", "b")
    assert (pair.verdict, pair.negligible) == ("better", True)
    assert "inside the margin" in pair.sentence


def test_lower_is_better_for_distances(three: pd.DataFrame) -> None:
    comparison = compare(three, "hd95_mm")
    pair = only_pair(comparison, "fast", "slow")
    assert pair.verdict == "worse"
    assert pair.difference is not None
    assert pair.difference > 0
    assert "slow has a lower HD95 than fast, by 0.6" in pair.sentence
    assert comparison.families[0].standings[0].name == "slow"
    assert comparison.margin is None


def test_few_subjects_cannot_reach_significance_by_design() -> None:
    table = slice_table({"a": 0.7, "b": 0.8, "c": 0.9}, subjects=5)
    (family,) = compare(table).families
    assert family.design.limited
    assert {pair.verdict for pair in family.pairs} == {"undecided"}
    assert all("with 5 subjects by design" in pair.sentence for pair in family.pairs)
    assert all(pair.detectable_difference for pair in family.pairs)
    assert {standing.tiers for standing in family.standings} == {(1,)}
    assert "7 subjects would do" in family.notes[0]


def test_identical_and_constant_scores_are_undefined() -> None:
    table = slice_table({"a": 0.8})
    same = table.assign(network="b")
    shifted = table.assign(network="c", dice=table["dice"] - 0.1 * (table["brain_pixels"] > 0))
    (family,) = compare(pd.concat([table, same, shifted])).families
    assert {pair.verdict for pair in family.pairs} == {"undefined"}
    assert "identical" in family.pairs[0].reason
    assert "no spread" in family.pairs[1].reason
    assert family.pairs[0].sentence.startswith("a and b cannot be compared on Dice")
    assert [standing.rank for standing in family.standings] == [1, 1, 3]


def test_one_subject_is_undefined() -> None:
    (family,) = compare(slice_table({"a": 0.8, "b": 0.9}, subjects=1)).families
    assert family.pairs[0].verdict == "undefined"
    assert "one subject" in family.pairs[0].reason


def test_a_failure_never_raises_a_mean(three: pd.DataFrame) -> None:
    """Rows that are missing and rows that are NaN get the worst value, and are counted."""
    own = (three["network"] == "slow") & (three["set"] == "normal") & (three["seed"] == 0)
    hard = own & (three["subject"] == "sub-03") & (three["brain_pixels"] > 0)
    whole = only_pair(compare(three), "fast", "slow").mean_b
    for broken in (three[~hard], three.assign(dice=three["dice"].mask(hard))):
        (family,) = compare(broken).families
        pair = only_pair(compare(broken), "fast", "slow")
        assert pair.subjects == 14
        assert pair.mean_b is not None
        assert whole is not None
        lost = three.loc[hard, "dice"].mean() / 14 / 3
        assert pair.mean_b == pytest.approx(whole - lost)
        assert [s.imputed_slices for s in family.standings if s.name == "slow"] == [6]
        assert any("slow 6" in note for note in family.notes)
    far = compare(three[~hard], "hd95_mm")
    assert any("largest distance" in note for note in far.families[0].notes)
    before, after = (only_pair(each, "fast", "slow") for each in (compare(three, "hd95_mm"), far))
    assert before.mean_b is not None
    assert after.mean_b is not None
    assert after.mean_b > before.mean_b


def test_declared_contestants_without_a_record_count_in_the_family(three: pd.DataFrame) -> None:
    (family,) = compare(three, contestants=["fast", "slow", "unet"]).families
    assert family.design.family_size == 6
    assert family.verdict("fast", "unet") == "undefined"
    assert any("no record of unet" in note for note in family.notes)
    smaller = only_pair(compare(three), "fast", "slow")
    larger = next(p for p in family.pairs if (p.a, p.b) == ("fast", "slow"))
    assert smaller.t_p_holm is not None
    assert larger.t_p_holm is not None
    assert larger.t_p_holm > smaller.t_p_holm


def test_families_are_declared_one_by_one() -> None:
    table = slice_table({"a": 0.8, "b": 0.9}, backends={"jax": 0.0, "torch": 0.0})
    found = compare(table, contestants={"jax": ["a", "b", "c"], "keras": ["a"]})
    sizes = {family.within: family.design.family_size for family in found.families}
    assert sizes == {"jax": 3, "torch": 1}


def test_the_level_of_intervals_follows_alpha(three: pd.DataFrame) -> None:
    wide, narrow = (only_pair(compare(three, alpha=a), "fast", "slow") for a in (0.01, 0.2))
    for pair, level in ((wide, 0.99), (narrow, 0.8)):
        assert pair.interval is not None
        assert pair.t_test is not None
        assert pair.interval.level == pytest.approx(level)
        ends = pair.interval.low, pair.interval.high
        assert ends == pytest.approx((pair.t_test.ci_low, pair.t_test.ci_high))
    assert "99 % CI" in wide.sentence
    (family,) = compare(three, alpha=0.01).families
    assert {round(s.interval.level, 6) for s in family.standings if s.interval} == {0.99}


def test_the_papers_own_test_stands_under_its_name(three: pd.DataFrame) -> None:
    pair = only_pair(compare(three), "fast", "middle")
    wide = three.pivot_table(
        index=["set", "subject", "stack", "slice"], columns="network", values="paper_dice"
    )
    differences = wide["fast"] - wide["middle"]
    by_hand = differences.mean() / (differences.std(ddof=1) / np.sqrt(len(differences)))
    assert pair.paper.t == pytest.approx(by_hand)
    assert (pair.paper.slices, pair.paper.metric) == (2 * 14 * 2 * 4, "paper_dice")
    assert pair.paper.label == PAPER_LABEL == "as in the paper; treats slices as independent"
    assert pair.paper.significant == (pair.paper.p is not None and pair.paper.p < 0.001)


def test_over_all_slices_or_those_with_brain(three: pd.DataFrame) -> None:
    brain, everything = (
        only_pair(compare(three, over=o), "fast", "slow") for o in ("brain", "all")
    )
    assert brain.mean_a is not None
    assert everything.mean_a == pytest.approx((3 * brain.mean_a + 1) / 4)
    assert compare(three, "paper_dice").over == "all"


def test_families_are_kept_apart_by_backend() -> None:
    table = slice_table({"a": 0.8, "b": 0.9}, backends={"jax": 0.0, "torch": 0.0}, seeds=(0,))
    comparison = compare(table)
    assert [family.within for family in comparison.families] == ["jax", "torch"]
    assert {row["backend"] for row in comparison.rows()} == {"jax", "torch"}
    frameworks = compare(table, between="backend")
    assert [family.within for family in frameworks.families] == ["a", "b"]
    assert [(row["network"], row["a"], row["b"]) for row in frameworks.rows()] == [
        ("a", "jax", "torch"),
        ("b", "jax", "torch"),
    ]


def test_seeds(three: pd.DataFrame) -> None:
    standing = compare(three).families[0].standings[0]
    assert (standing.seeds.seeds, standing.seeds.few_seeds) == (3, False)
    assert set(standing.seeds.per_seed) == {0, 1, 2}
    assert standing.seeds.between_seeds_sd == pytest.approx(
        np.std(list(standing.seeds.per_seed.values()), ddof=1)
    )
    assert standing.seeds.between_subjects_sd == pytest.approx(0.03, rel=0.5)
    (family,) = compare(three[three["seed"] == 0]).families
    assert family.standings[0].seeds.between_seeds_sd is None
    assert any("few seeds" in note for note in family.notes)


def plain(value: Any) -> bool:
    return value is None or type(value) in (str, int, float, bool)


def test_rows_are_flat_strict_json_and_deterministic(three: pd.DataFrame) -> None:
    shuffled = three.sample(frac=1, random_state=1)
    first, second = compare(three), compare(shuffled)
    assert all(plain(value) for row in first.rows() for value in row.values())
    assert all(plain(value) for row in first.standing_rows() for value in row.values())
    texts = [json.dumps(each.as_dict(), allow_nan=False) for each in (first, second)]
    assert texts[0] == texts[1]
    assert json.dumps(first.rows(), allow_nan=False) == json.dumps(second.rows(), allow_nan=False)
    assert first.sentences() == [row["sentence"] for row in first.rows()]
    assert pd.DataFrame(first.rows())["p_holm"].between(0, 1).all()


def test_wrong_input_is_named(three: pd.DataFrame) -> None:
    with pytest.raises(UsageError, match="dice"):
        compare(three, "dise")
    with pytest.raises(UsageError, match="challenging"):
        compare(three, set="test")
    with pytest.raises(DataError, match="nsd"):
        compare(three, "nsd")
    with pytest.raises(UsageError, match="margin"):
        compare(three, margin=-1)
    with pytest.raises(DataError, match="twice for fast"):
        compare(pd.concat([three, three]))
    other = three.assign(brain_pixels=three["brain_pixels"] + (three["network"] == "slow"))
    with pytest.raises(DataError, match="disagree over the reference"):
        compare(other)
    with pytest.raises(DataError, match="no slice"):
        compare(three[three["brain_pixels"] == 0])


def test_variance_split_finds_what_was_planted() -> None:
    networks = {"a": 0.80, "b": 0.84, "c": 0.88}
    same = slice_table(networks, backends={"jax": 0.0, "torch": 0.0})
    split = variance_split(same)
    assert split.network_share == pytest.approx(1, abs=0.02)
    assert split.framework_share == pytest.approx(0, abs=0.02)
    apart = variance_split(slice_table(networks, backends={"jax": 0.0, "torch": 0.05}))
    assert apart.framework_share is not None
    # Means ±0.025 against networks −0.04, 0, 0.04: 6 × 0.025² and 2 × 2 × 0.04².
    expected = 6 * 0.025**2 / (6 * 0.025**2 + 4 * 0.04**2)
    assert apart.framework_share == pytest.approx(expected, abs=0.03)
    assert apart.largest_gap == pytest.approx(0.05, abs=0.003)
    parts = (apart.network_share, apart.framework_share, apart.interaction_share, apart.seed_share)
    assert sum(part for part in parts if part is not None) == pytest.approx(1)


def test_variance_split_with_gaps_and_one_seed() -> None:
    table = slice_table(
        {"a": 0.8, "b": 0.9, "c": 0.7}, backends={"jax": 0, "torch": 0.01}, seeds=(0,)
    )
    gaps = table[(table["network"] != "c") | (table["backend"] == "jax")]
    split = variance_split(gaps)
    assert (split.networks, split.left_out) == (("a", "b"), ("c",))
    assert split.seed_share is None
    assert "noise of training" in split.sentence
    alone = variance_split(table[table["backend"] == "jax"])
    assert alone.network_share is None
    assert "two frameworks" in str(alone.reason)
