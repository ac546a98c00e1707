"""The rule behind "better": its parts by hand, and its error rate on nulls that break a test."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from benchmarks.calibration import call, differences_of, family_errors
from benchmarks.nulls import NULLS
from harness.errors import DataError
from harness.metrics import coarse_tolerance, quartiles
from harness.metrics.catalogue import METRICS
from harness.metrics.contours import Contours, hausdorff_mm
from harness.statistics.detection import detection
from harness.statistics.evidence import gather
from harness.statistics.guard import guard, largest_deviation
from harness.statistics.hierarchy import hierarchical_t, pooled_seed_variance
from harness.statistics.multiplicity import design_limit
from harness.statistics.pairs import Terms, compare_pairs
from harness.statistics.proportions import proportion, subjects_to_exclude, unseen_share
from harness.statistics.robustness import across_metrics, paired_dots
from tests.oracles import oracle
from tests.statistics.test_compare import slice_table


def test_exact_intervals_equal_scipys() -> None:
    stats = oracle("scipy.stats")
    for hits, count in ((0, 18), (9, 18), (18, 18), (1, 300)):
        theirs = stats.binomtest(hits, count).proportion_ci(method="exact")
        ours = proportion(hits, count)
        assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), rel=1e-9)
    with pytest.raises(ValueError, match="share"):
        proportion(3, 2)


def test_what_may_go_unseen() -> None:
    assert unseen_share(59, 0.05) < 0.05 < unseen_share(58, 0.05)
    assert subjects_to_exclude(0.05, 0.05) == 59
    assert unseen_share(0, 0.05) == 1
    # The rule of three.
    assert unseen_share(100, 0.05) == pytest.approx(0.03, rel=0.02)


def test_the_guard_takes_the_larger_loss() -> None:
    calm = [np.array([0.1, 0.12, 0.11]), np.array([0.3, 0.3, 0.3])]
    assert largest_deviation(calm) == pytest.approx(0.01)
    found = guard(largest_deviation(calm), 12, 0.3, 0.05)
    assert (found.loss, found.share) == (0.3, pytest.approx(1 - 0.02 ** (1 / 12)))
    assert found.least == pytest.approx(found.share * 0.3)
    wild = [*calm, np.array([-0.6, 0.3, 0.3])]
    assert guard(largest_deviation(wild), 12, 0.3, 0.05).loss == pytest.approx(0.6)
    assert guard(largest_deviation(wild), 12, None, 0.05).loss == pytest.approx(0.6)


def test_the_largest_p_decides() -> None:
    """One subject of ten far off: t is not sure, the signs are."""
    a = np.array([[0.9]] * 9 + [[20.0]]) + np.linspace(0, 0.01, 10)[:, None]
    found = gather(a, np.zeros((10, 1)), level=0.95, seed=0)
    assert found.t_test.p > found.sign_flip.p == 2**-9
    assert found.p == found.t_test.p
    assert set(found.by_test) == {"t", "sign-flip", "Wilcoxon"}


def test_the_t_over_seeds_by_hand() -> None:
    """Variances 0.5/2, 2/2 and 0 of means: t = 3/√1.25, df = 1.25²/(0.25²/1 + 1²/1)."""
    a = np.array([[2.5, 4.5], [1.5, 3.5]])
    b = np.zeros((2, 2))
    found = hierarchical_t(a, b)
    assert found.t == pytest.approx(3 / np.sqrt(0.25 + 1.0))
    assert found.df == pytest.approx(1.25**2 / (0.25**2 + 1))
    middle = (found.interval.low + found.interval.high) / 2
    assert middle == pytest.approx(3)
    # The family's variance between trainings, (4/3 + 0) / 2 over 4 df, stands in for b's 0.
    pooled = pooled_seed_variance([np.hstack([a, a[:, :1]]), np.zeros((2, 3)), b])
    assert pooled is not None
    assert (pooled.variance, pooled.df) == (pytest.approx(2 / 3), 4)
    shared = hierarchical_t(a, b, pooled=pooled)
    assert shared.t == pytest.approx(3 / np.sqrt(0.25 + 1.0 + 1 / 3))


@pytest.mark.parametrize(
    ("null", "least"),
    [
        ("heavy tails, t with 3 df", 0.0),
        ("skewed, log-normal, five times as wide", 0.1),
        ("failing, 5 % lose 30 points", 0.5),
        ("recorded subjects, normal set", 0.0),
    ],
)
def test_the_family_wise_error_is_the_promised_one(null: str, least: float) -> None:
    """At most 6 % but for chance (two standard errors of 200 runs); `least`: the t-test alone."""
    rng = np.random.default_rng(3)
    alone, rule = family_errors(rng, null, runs=200, subjects=12)
    assert rule <= 0.06 + 2 * np.sqrt(0.06 * 0.94 / 200)
    assert alone >= least


def test_the_rule_finds_what_is_there() -> None:
    """A network ahead by 12 points in noise of 5 is found against most others with 16 subjects."""
    scores = np.random.default_rng(4).normal(0, 0.05, (100, 16, 9))
    scores[..., 0] += 0.12
    found = call(differences_of(scores))
    assert found.after[:, :8].mean() > 0.9
    assert found.after[:, 8:].mean() < 0.01


def test_the_simulated_rule_is_the_one_of_the_verdicts() -> None:
    design = design_limit(12, 36)
    names = [str(index) for index in range(9)]
    for run in range(6):
        rng = np.random.default_rng(run)
        scores = NULLS["skewed, exponential"](rng, 1, 12) - 0.06 * np.arange(9)
        found = call(differences_of(scores)).after[0]
        by_name = {name: scores[0, :, [index]].T for index, name in enumerate(names)}
        terms = Terms(METRICS["dice"], design, {}, 0)
        paper = ("dice", dict.fromkeys(names, np.arange(3.0)))
        pairs = compare_pairs(names, by_name, paper, terms)
        assert [pair.verdict in ("better", "worse") for pair in pairs] == found.tolist()
        assert found.any()


def test_detection_by_slice() -> None:
    rows = pd.DataFrame(
        {
            "subject": ["a"] * 4 + ["b"] * 4,
            "brain_pixels": [9, 9, 0, 0, 9, 9, 0, 0],
            "predicted_pixels": [5, 0, 0, 0, 9, -1, 3, 0],
        }
    )
    found = detection(rows)
    assert found.sensitivity is not None
    assert found.specificity is not None
    assert found.clean_subjects is not None
    assert (found.sensitivity.hits, found.sensitivity.count) == (2, 4)
    assert (found.specificity.hits, found.specificity.count) == (3, 4)
    assert (found.clean_subjects.hits, found.clean_subjects.count) == (1, 2)
    assert found.specificity.low == pytest.approx(proportion(3, 4).low)
    twice = pd.concat([rows.assign(seed=0), rows.assign(seed=1, predicted_pixels=0)])
    both = detection(twice)
    assert both.sensitivity is not None
    assert (both.sensitivity.hits, both.sensitivity.count) == (1, 4)
    assert detection(rows[rows["brain_pixels"] > 0]).specificity is None
    with pytest.raises(DataError, match="one network"):
        detection(pd.concat([rows.assign(network="x"), rows.assign(network="y")]))
    with pytest.raises(DataError, match="no slice"):
        detection(rows.iloc[:0])


def test_a_tolerance_below_the_pixel_is_said() -> None:
    assert coarse_tolerance([(1.0, 1.0), (2.0, 2.0)], 2.0) is None
    said = coarse_tolerance([(1.0, 1.0), (3.0, 5.0)], 2.0)
    assert "1 of 2 slices (up to 5 mm)" in str(said)


def test_quartiles_do_not_move_with_an_outlier() -> None:
    found = quartiles(pd.Series([1.0, 2.0, 3.0, 4.0, 500.0]))
    assert (found.low, found.median, found.high) == (2, 3, 4)


def test_a_share_of_exactly_95_percent_is_reached() -> None:
    """20 equal elements: 19 hold exactly 95 %, however the sum of their lengths is rounded."""
    for length in (0.1, 1 / 3, 0.7, 1.1, np.sqrt(2) / 2):
        distances = np.arange(1.0, 21.0)
        lengths = np.full(20, length)
        found = hausdorff_mm(Contours(distances, lengths, distances, lengths))
        assert found == 19, length


def test_ranking_across_metrics_and_the_dots_of_a_pair() -> None:
    table = slice_table({"a": 0.7, "b": 0.8, "c": 0.9}, seeds=(0,))
    found = across_metrics(table)
    assert found.metrics == ("dice", "hd95_mm")
    assert found.ranks == (("c", (1, 1)), ("b", (2, 2)), ("a", (3, 3)))
    assert (found.agreement, found.same_winner) == ((1.0, 1.0), True)
    swapped = across_metrics(table.assign(hd95_mm=30 * table["dice"]))
    assert swapped.agreement[1] == -1
    assert not swapped.same_winner
    dots = paired_dots(table, "a", "c")
    assert len(dots) == 14
    assert all(dot.difference == pytest.approx(dot.a - dot.b) for dot in dots)
    assert [dot.difference for dot in dots] == sorted(dot.difference for dot in dots)
