"""`compare` from the table of slices to verdicts, sentences and flat rows; the variance split."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest

from harness.errors import DataError, UsageError
from harness.metrics import subject_means
from harness.records.schema import Training
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
    return slice_table({"fast": 0.75, "middle": 0.7505, "slow": 0.88})


def only_pair(comparison: Comparison, a: str, b: str) -> Pair:
    (found,) = [p for f in comparison.families for p in f.pairs if (p.a, p.b) == (a, b)]
    return found


def test_the_unit_is_the_subject(three: pd.DataFrame) -> None:
    pair = only_pair(compare(three, over="brain"), "fast", "slow")
    own = three[three["set"] == "normal"]
    by_hand = [
        np.mean([subject_means(rows, "dice") for _, rows in of_network.groupby("seed")], axis=0)
        for _, of_network in own[own["network"] != "middle"].groupby("network")
    ]
    differences = by_hand[0] - by_hand[1]
    assert pair.subjects == 14
    assert pair.difference == pytest.approx(differences.mean())
    assert pair.evidence is not None
    assert pair.evidence.t_test.df == 13
    assert pair.evidence.t_test.t == pytest.approx(
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
    table = slice_table({"a": 0.85, "b": 0.85}, subjects=59, noise=0.001)
    pair = only_pair(compare(table), "a", "b")
    assert pair.verdict == "equivalent"
    assert "equivalent within ±0.50 points of Dice" in pair.sentence
    tight = only_pair(compare(table, margin=1e-5), "a", "b")
    assert tight.verdict == "undecided"
    assert "does not show that they are equal" in tight.sentence


def test_equivalence_has_a_design_limit_and_takes_no_subject_far_outside() -> None:
    few = slice_table({"a": 0.85, "b": 0.85}, subjects=58, noise=0.001)
    pair = only_pair(compare(few), "a", "b")
    assert pair.verdict == "undecided"
    assert "at least 59 subjects" in pair.reason
    many = slice_table({"a": 0.85, "b": 0.85}, subjects=400, noise=0.001)
    failed = (many["network"] == "a") & (many["subject"] == "sub-07") & (many["brain_pixels"] > 0)
    pair = only_pair(compare(many.assign(dice=many["dice"] - 0.06 * failed)), "a", "b")
    assert pair.family_interval is not None
    assert -0.005 < pair.family_interval.low < pair.family_interval.high < 0.005
    assert pair.verdict == "undecided"
    assert "1 subject differs by more than 5.00 points" in pair.reason


def test_a_difference_that_failures_could_undo_is_not_claimed() -> None:
    """14 subjects: 1 − 0.02^(1/14) = 24.4 % may fail unseen, at 30 points each 7.3 points."""
    verdicts = {}
    for gap in (0.06, 0.08):
        pair = only_pair(compare(slice_table({"a": 0.8, "b": 0.8 + gap})), "a", "b")
        assert pair.p_holm is not None
        assert pair.p_holm < 0.001
        assert pair.guard.least == pytest.approx(0.3 * (1 - 0.02 ** (1 / 14)))
        verdicts[gap] = pair.verdict
        if gap == 0.06:
            assert "cannot exclude that 24.4 % of all fail" in pair.reason
            assert pair.subjects_to_decide == 18
            assert "About 18 subjects would decide" in pair.sentence
    assert verdicts == {0.06: "undecided", 0.08: "worse"}


def test_unequal_training_decides_nothing(three: pd.DataFrame) -> None:
    def trained(epochs: int, precision: str = "float32") -> Training:
        return Training(
            weights_from="torch",
            loss="dice_ce",
            precision=precision,
            epochs=epochs,
            steps=55 * epochs,
            best_epoch=1,
            best_validation_dice=0.9,
            train_slices=220,
            validation_slices=20,
            seconds=1.0,
            images_per_second=None,
            weights_sha256="a" * 64,
        )

    same = {"torch": {"fast": trained(4), "slow": trained(4)}}
    assert only_pair(compare(three, trainings=same), "fast", "slow").verdict == "worse"
    other = {"torch": {"fast": trained(4), "slow": trained(1)}}
    pair = only_pair(compare(three, trainings=other), "fast", "slow")
    assert pair.verdict == "undecided"
    assert "not equal (fast 4 epochs, 220 steps; slow 1 epoch, 55 steps)" in pair.reason
    assert "p < 0.001" in pair.reason
    rounded = {"torch": {"fast": trained(4), "slow": trained(4, "bfloat16")}}
    pair = only_pair(compare(three, trainings=rounded), "fast", "slow")
    assert pair.verdict == "undecided"
    assert "(fast 4 epochs, 220 steps in float32; slow 4 epochs, 220 steps in bfloat16)" in (
        pair.reason
    )
    half = {"torch": {"fast": trained(4)}}
    assert only_pair(compare(three, trainings=half), "fast", "slow").verdict == "worse"


def test_seeds_stand_inside_the_verdict() -> None:
    """A lead of three trainings, one of which made it alone, is none between networks."""
    table = slice_table({"a": 0.6, "b": 0.6})
    lucky = (table["network"] == "a") & (table["seed"] == 0) & (table["brain_pixels"] > 0)
    table = table.assign(dice=table["dice"] + 0.29 * lucky)
    pair = only_pair(compare(table), "a", "b")
    assert pair.evidence is not None
    assert pair.evidence.t_test.p < 0.001
    assert pair.evidence.over_seeds is not None
    assert pair.evidence.over_seeds.p == pair.p
    assert pair.evidence.over_seeds.p > 0.05
    assert (pair.verdict, pair.caveats) == ("undecided", ())
    assert "t over seeds and subjects p =" in pair.sentence
    by_two = only_pair(compare(table[table["seed"] < 2]), "a", "b")
    assert by_two.verdict == "better"
    assert by_two.evidence is not None
    assert by_two.evidence.over_seeds is None
    assert "2 and 2 trainings, too few" in by_two.sentence
    alone = only_pair(compare(table[table["seed"] == 0]), "a", "b")
    assert "one training of each" in alone.sentence


def test_a_false_alarm_counts_as_a_slice_of_dice_0() -> None:
    """Each stack has three slices with brain and an empty one, in which b marks brain."""
    table = slice_table({"a": 0.8, "b": 0.88})
    alarm = (table["network"] == "b") & (table["brain_pixels"] == 0)
    table = table.assign(
        dice=table["dice"].mask(alarm, 0.0),
        predicted_pixels=table["predicted_pixels"].mask(alarm, 5),
    )
    (family,) = compare(table).families
    brain = dict(family.by_brain)
    means = {standing.name: standing.mean for standing in family.standings}
    assert means["a"] == pytest.approx(brain["a"])
    assert means["b"] == pytest.approx(0.75 * brain["b"])
    assert [standing.name for standing in family.standings] == ["a", "b"]
    assert [name for name, _ in family.by_brain] == ["b", "a"]
    assert any("b would be first and not a" in note for note in family.notes)
    assert compare(table, over="brain").families[0].standings[0].name == "b"
    assert compare(table, over="brain").families[0].by_brain == ()
    # Many empty slices that were left empty change nothing, unlike with "all".
    (more,) = compare(slice_table({"a": 0.8, "b": 0.88})).families
    assert {s.name: s.mean for s in more.standings} == pytest.approx(brain)


def test_impossible_scores_are_refused(three: pd.DataFrame) -> None:
    for wrong in (1.02, np.inf, -0.1):
        table = three.assign(dice=three["dice"].mask(three.index == 7, wrong))
        with pytest.raises(DataError, match="Dice of slice 3 of sub-00_run-1"):
            compare(table)
    far = three.assign(hd95_mm=three["hd95_mm"].mask(three.index == 7, np.inf))
    with pytest.raises(DataError, match="not a finite distance"):
        compare(far, "hd95_mm")


def test_the_interval_of_the_family_is_wider_and_stands_in_the_sentence(three) -> None:
    pair = only_pair(compare(three), "fast", "slow")
    assert pair.interval is not None
    assert pair.family_interval is not None
    assert pair.family_interval.level == pytest.approx(1 - 0.05 / 3)
    assert pair.family_interval.low < pair.interval.low
    assert pair.family_interval.high > pair.interval.high
    assert "for this pair alone" in pair.sentence
    assert "adjusted for 3" in pair.sentence
    for name in ("t p < 0.001", "sign-flip p < 0.001", "Wilcoxon p < 0.001"):
        assert name in pair.sentence
    row = compare(three).rows()[1]
    for key in ("t_p", "sign_flip_p", "wilcoxon_p", "seeds_t_p", "p"):
        assert 0 < row[key] <= row[f"{key}_holm"] < 0.05, key
    assert row["p"] == max(row[k] for k in ("t_p", "sign_flip_p", "wilcoxon_p", "seeds_t_p"))


def test_a_real_difference_may_still_be_negligible() -> None:
    table = slice_table({"a": 0.854, "b": 0.85}, subjects=400, noise=0.0005, seeds=(0,))
    pair = only_pair(compare(table), "a", "b")
    assert (pair.verdict, pair.negligible) == ("better", True)
    assert "inside the margin" in pair.sentence


def test_lower_is_better_for_distances(three: pd.DataFrame) -> None:
    comparison = compare(three, "hd95_mm")
    pair = only_pair(comparison, "fast", "slow")
    assert pair.verdict == "worse"
    assert pair.difference is not None
    assert pair.difference > 0
    assert "slow has a lower HD95 than fast, by 2." in pair.sentence
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
    assert smaller.p_holm is not None
    assert larger.p_holm is not None
    assert larger.p_holm > smaller.p_holm


def test_families_are_declared_one_by_one() -> None:
    table = slice_table({"a": 0.8, "b": 0.9}, backends={"jax": 0.0, "torch": 0.0})
    found = compare(table, contestants={"jax": ["a", "b", "c"], "keras": ["a"]})
    sizes = {family.within: family.design.family_size for family in found.families}
    assert sizes == {"jax": 3, "torch": 1}


def test_the_level_of_intervals_follows_alpha(three: pd.DataFrame) -> None:
    one = three[three["seed"] == 0]
    wide, narrow = (only_pair(compare(one, alpha=a), "fast", "slow") for a in (0.01, 0.2))
    for pair, level in ((wide, 0.99), (narrow, 0.8)):
        assert pair.interval is not None
        assert pair.evidence is not None
        assert pair.interval.level == pytest.approx(level)
        ends = pair.interval.low, pair.interval.high
        test = pair.evidence.t_test
        assert ends == pytest.approx((test.ci_low, test.ci_high))
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
    for margin in (-1, 0, 0.5):
        with pytest.raises(UsageError, match="at most 5"):
            compare(three, margin=margin)
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
