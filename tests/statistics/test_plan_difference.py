"""What a plan changes, against figures worked out by hand."""

from __future__ import annotations

import pandas as pd
import pytest

from harness.statistics.plan_difference import plan_difference

# subject, stack, Dice in float64, Dice of the plan, pixels of brain, pixels found in float64, by it
ROWS = [
    ("a", "a1", 0.9, 0.8, 10, 10, 10),
    ("a", "a1", 0.7, 0.7, 10, 10, 10),
    ("a", "a2", 0.5, 0.5, 10, 10, 10),
    ("b", "b1", 0.6, 0.8, 10, 10, 10),
    # Left empty in float64, a false alarm of the plan: one more slice with Dice 0.
    ("b", "b1", 1.0, 0.0, 0, 0, 5),
    # A subject without brain has no Dice.
    ("c", "c1", 0.0, 0.0, 0, 9, 9),
]


def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    made = []
    for dice, pixels in ((3, 6), (2, 5)):
        rows = [(row[0], row[1], row[dice], row[4], row[pixels]) for row in ROWS]
        columns = ["subject", "stack", "dice", "brain_pixels", "predicted_pixels"]
        made.append(pd.DataFrame(rows, columns=columns))
    own, reference = made
    return own, reference


def test_the_difference_is_of_the_dice_that_ranks_and_paired_by_subject() -> None:
    found = plan_difference(*tables())
    # a: (0.8 + 0.5) / 2 and (0.75 + 0.5) / 2; b: 0.6 and (0.8 + 0) / 2.
    assert found.subjects == 2
    assert found.reference_dice == pytest.approx((0.65 + 0.6) / 2)
    assert found.dice == pytest.approx((0.625 + 0.4) / 2)
    assert found.difference == pytest.approx((-0.025 - 0.2) / 2)
    assert found.interval is not None
    # Student's t with one degree of freedom: 12.7062 times 0.0875.
    assert found.interval.high - found.difference == pytest.approx(12.7062 * 0.0875, rel=1e-4)


def test_the_same_masks_have_no_interval_and_a_reason() -> None:
    _, reference = tables()
    found = plan_difference(reference, reference)
    assert (found.difference, found.interval) == (0, None)
    assert found.reason == "the scores are identical for every subject"
