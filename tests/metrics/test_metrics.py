"""Scores of a slice, the table of empty masks, and the means above it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from harness.errors import DataError, UsageError
from harness.metrics import (
    NO_PREDICTION,
    metric_named,
    score_slices,
    slice_scores,
    stack_means,
    subject_means,
    summarise,
    volume_dice,
)

EMPTY = np.zeros((30, 40), dtype=bool)
DIAGONAL_MM = 50.0 * 2  # 30 × 40 pixels of 2 mm


def square(top: int = 10, left: int = 10, side: int = 10) -> NDArray[np.bool_]:
    mask = EMPTY.copy()
    mask[top : top + side, left : left + side] = True
    return mask


def test_known_overlap() -> None:
    scores = slice_scores(square(), square(left=15), (1.0, 1.0))
    assert scores.dice == 0.5
    assert scores.iou == pytest.approx(1 / 3)
    assert (scores.precision, scores.recall) == (0.5, 0.5)
    background = 2 * 1050 / (1100 + 1100)
    assert scores.paper_dice == pytest.approx((0.5 + background) / 2)
    assert scores.paper_iou == pytest.approx((1 / 3 + 1050 / 1150) / 2)
    assert (scores.case, scores.brain_pixels, scores.predicted_pixels) == ("scored", 100, 100)


def test_a_shift_of_five_pixels_is_five_pixels_of_hd95_in_mm() -> None:
    assert slice_scores(square(), square(left=15), (1.0, 0.8)).hd95_mm == pytest.approx(4.0)
    assert slice_scores(square(), square(top=15), (1.2, 0.8)).hd95_mm == pytest.approx(6.0)


def test_hd95_is_the_larger_direction() -> None:
    """A speck far off lengthens one direction only; precision and recall change places."""
    speck = square() | square(top=25, left=35, side=3)
    far = slice_scores(square(), speck, (1.0, 1.0))
    back = slice_scores(speck, square(), (1.0, 1.0))
    assert far.hd95_mm == back.hd95_mm > 10
    assert (far.precision, far.recall) == (back.recall, back.precision)
    assert far.recall == 1.0


def test_nsd_counts_what_lies_within_the_tolerance() -> None:
    shifted = square(left=11)
    assert slice_scores(square(), shifted, (1.0, 1.0), tolerance_mm=1.0).nsd == 1.0
    assert slice_scores(square(), shifted, (1.0, 1.0), tolerance_mm=0.9).nsd < 1.0
    assert slice_scores(square(), shifted, (1.0, 1.5), tolerance_mm=1.0).nsd < 1.0


@pytest.mark.parametrize(
    ("reference", "prediction", "case", "score", "hd95_mm"),
    [
        (EMPTY, EMPTY, "empty_agreed", 1.0, 0.0),
        (EMPTY, square(), "false_alarm", 0.0, DIAGONAL_MM),
        (square(), EMPTY, "missed", 0.0, DIAGONAL_MM),
        (square(), None, "missed", 0.0, DIAGONAL_MM),
        (EMPTY, None, "false_alarm", 0.0, DIAGONAL_MM),
    ],
)
def test_table_of_empty_masks(reference, prediction, case, score, hd95_mm) -> None:
    scores = slice_scores(reference, prediction, (2.0, 2.0))
    assert scores.case == case
    assert {scores.dice, scores.iou, scores.nsd, scores.precision, scores.recall} == {score}
    assert scores.hd95_mm == hd95_mm


def test_paper_convention_on_empty_masks() -> None:
    background = 2 * 1100 / (1100 + 1200)
    for pair in ((EMPTY, square()), (square(), EMPTY)):
        assert slice_scores(*pair, (1.0, 1.0)).paper_dice == pytest.approx(background / 2)
    assert slice_scores(EMPTY, EMPTY, (1.0, 1.0)).paper_dice == 1.0
    assert slice_scores(square(), None, (1.0, 1.0)).paper_dice == 0.0
    full = ~EMPTY
    assert slice_scores(full, full, (1.0, 1.0)).paper_dice == 1.0


def test_no_score_beats_the_worst_of_a_failed_prediction() -> None:
    rng = np.random.default_rng(0)
    for _ in range(50):
        prediction = rng.random(EMPTY.shape) < rng.random() ** 3
        scores = slice_scores(square(), prediction, (2.0, 2.0))
        assert scores.hd95_mm <= DIAGONAL_MM
        assert scores.dice >= 0


@pytest.mark.parametrize(
    ("reference", "prediction", "spacing", "words"),
    [
        (square().astype(np.uint8), square(), (1.0, 1.0), "array of bool"),
        (square(), square()[:20], (1.0, 1.0), "original grid"),
        (square(), square(), (1.0, 0.0), "spacing"),
        (square(), square(), (1.0, float("nan")), "spacing"),
    ],
)
def test_wrong_input_is_named(reference, prediction, spacing, words) -> None:
    with pytest.raises(DataError, match=words):
        slice_scores(reference, prediction, spacing)


def slice_rows(count: int) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "set": "normal",
            "subject": [f"sub-{i // 4}" for i in range(count)],
            "stack": [f"sub-{i // 4}_run-{i // 2 % 2}" for i in range(count)],
            "slice": [i % 2 for i in range(count)],
            "spacing_y_mm": 2.0,
            "spacing_x_mm": 2.0,
        },
        index=range(100, 100 + count),
    )


def test_score_slices_keeps_every_row() -> None:
    bad = square().astype(np.float32)
    bad[0, 0] = np.nan
    predictions = [square().astype(np.uint8), None, bad, EMPTY]
    table = score_slices(slice_rows(4), [square()] * 4, predictions)
    assert table["dice"].tolist() == [1.0, 0.0, 0.0, 0.0]
    assert table["predicted_pixels"].tolist() == [100, NO_PREDICTION, NO_PREDICTION, 0]
    assert table["hd95_mm"].tolist() == [0.0, DIAGONAL_MM, DIAGONAL_MM, DIAGONAL_MM]
    assert not table.isna().any(axis=None)
    assert list(table.columns) == [
        *("set", "subject", "stack", "slice", "spacing_y_mm", "spacing_x_mm"),
        *("dice", "iou", "paper_dice", "paper_iou", "nsd", "hd95_mm", "precision", "recall"),
        *("case", "brain_pixels", "predicted_pixels"),
    ]
    assert all(table[c].dtype == np.float64 for c in ("dice", "nsd", "hd95_mm", "recall"))


def test_score_slices_refuses_a_wrong_number_of_masks_and_probabilities() -> None:
    with pytest.raises(DataError, match="4 slices"):
        score_slices(slice_rows(4), [square()] * 4, [square()] * 3)
    with pytest.raises(DataError, match="threshold"):
        score_slices(slice_rows(1), [square()], [np.full((30, 40), 0.5)])
    with pytest.raises(DataError, match="reference"):
        score_slices(slice_rows(1), [np.full((30, 40), np.nan)], [square()])


def scored_rows() -> pd.DataFrame:
    references = [square(), square(), square(), EMPTY] * 2
    predictions = [square(), square(left=15), EMPTY, square(), square(), EMPTY, square(), EMPTY]
    return score_slices(slice_rows(8), references, predictions)


def test_means_over_brain_and_over_all_slices() -> None:
    scores = summarise(scored_rows())
    assert (scores.slices, scores.slices_with_brain, scores.stacks, scores.subjects) == (8, 6, 4, 2)
    assert scores.dice == pytest.approx((1 + 0.5 + 0 + 1 + 0 + 1) / 6)
    assert scores.dice_all == pytest.approx((1 + 0.5 + 0 + 0 + 1 + 0 + 1 + 1) / 8)
    assert scores.dice_median == 0.75
    assert (scores.missed, scores.false_alarm, scores.empty_agreed) == (2, 1, 1)


def test_slices_then_stacks_then_subjects() -> None:
    table = scored_rows()
    stacks = stack_means(table, "dice")
    assert stacks.tolist() == [0.75, 0.0, 0.5, 1.0]
    assert subject_means(table, "dice").tolist() == [0.375, 0.75]
    assert subject_means(table, "dice", over="all").tolist() == [0.375, 0.75]
    assert summarise(table).subject_dice == pytest.approx(0.5625)


def test_a_missed_brain_never_raises_a_score() -> None:
    """Dropping a slice with a middling Dice must not be repaid: missed counts as the worst."""
    references = [square(), square()]
    poor = score_slices(slice_rows(2), references, [square(), square(left=19)])
    missed = score_slices(slice_rows(2), references, [square(), EMPTY])
    before, after = summarise(poor), summarise(missed)
    assert after.dice < before.dice
    assert after.nsd is not None
    assert before.nsd is not None
    assert after.nsd < before.nsd
    assert after.hd95_mm is not None
    assert before.hd95_mm is not None
    assert after.hd95_mm > before.hd95_mm


def test_volume_dice_pools_the_voxels_of_a_stack() -> None:
    references = [square(), square(side=5), EMPTY, EMPTY]
    predictions = [square(left=13), square(side=6), EMPTY, EMPTY]
    pooled = volume_dice(score_slices(slice_rows(4), references, predictions))
    assert pooled.iloc[0] == pytest.approx(2 * (70 + 25) / (200 + 25 + 36))
    assert pooled.iloc[1] == 1.0  # both empty, as for a slice


def test_summary_refuses_gaps_and_mixtures() -> None:
    table = scored_rows()
    with pytest.raises(DataError, match="worst value"):
        summarise(table.assign(dice=np.nan))
    with pytest.raises(DataError, match="challenging"):
        summarise(table.assign(set=["normal", "challenging"] * 4))
    with pytest.raises(DataError, match="no slice"):
        summarise(table[table["brain_pixels"] == 0])


def test_unknown_metric_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match="hd95_mm"):
        metric_named("dise")
