"""When two frameworks agree, and what is never taken for agreement."""

from __future__ import annotations

import numpy as np
import pytest

from harness.checks.pooling_ties import tied_channels
from harness.checks.tolerances import (
    PREFIXES,
    ParityRow,
    compare_steps,
    difference,
    first_difference,
)


def test_differences_count_what_is_not_finite_or_of_another_shape() -> None:
    ones = np.ones((2, 2), np.float32)
    assert difference(ones, ones + np.float32(0.5)) == 0.5
    assert difference(ones, ones[:1]) == float("inf")
    assert difference(ones, ones * np.float32(np.nan)) == float("inf")


def window(*values: float) -> np.ndarray:
    """(1, 4, 4, 1) with these four values in a window in the middle of safe ones."""
    image = np.arange(16, dtype=np.float32).reshape(4, 4) / 8
    image[2:, :2] = np.reshape(values, (2, 2))
    return image[None, ..., None]


@pytest.mark.parametrize(
    ("values", "plain", "rectified"),
    [
        ((1, 2, 3, 4), False, False),
        ((4, 2, 3, 4), True, True),
        ((2, 4, 4 - 1e-6, 3), True, True),
        ((4, 4, 4, 4), True, True),
        # Closed by a ReLU: zeros, and the first place by the rule.
        ((-4, -4, -4, -4), True, False),
        # About to open, or just open: the place depends on rounding, and the decoder puts a value
        # there that is anything but zero.
        ((-4, -1e-6, -4, -4), False, True),
        ((-4, 1e-6, -4, -4), False, True),
        ((-4, 1, -4, -4), False, False),
    ],
)
def test_a_window_whose_maximum_hardly_leads_is_seen(
    values: tuple[float, ...], plain: bool, rectified: bool
) -> None:
    beside = np.concatenate([window(1, 2, 3, 4), window(*values)], axis=-1)
    assert tied_channels(beside, 2, rectified=False).tolist() == [False, plain]
    assert tied_channels(beside, 2, rectified=True).tolist() == [False, rectified]


def test_the_first_layer_that_differs_is_named() -> None:
    source = {name: np.zeros(3, np.float32) for name in ("a", "b", "c")}
    target = source | {"b": np.full(3, 1e-3, np.float32), "c": np.ones(3, np.float32)}
    order = ["a", "b", "c"]
    assert first_difference(source, source, order) == ""
    assert first_difference(source, target, order) == "b"
    assert first_difference(source, {"a": source["a"]}, order) == "b (missing)"
    nothing = source | {"b": np.full(3, np.nan, np.float32)}
    assert first_difference(nothing, nothing, order) == "b"


def test_a_step_to_nan_never_agrees() -> None:
    step = {f"{prefix}/w": np.ones(2, np.float32) for prefix in ("loss", "gradient", "weight")}
    nothing = step | {key: value * np.float32(np.nan) for key, value in step.items()}
    pairs = [(nothing, nothing), (step, nothing), (nothing, step)]
    for quantity in PREFIXES:
        right = compare_steps(quantity, ["w"], {"a": step, "b": step})
        assert right["within"]
        for left, other in pairs:
            found = compare_steps(quantity, ["w"], {"a": left, "b": other})
            assert not found["within"]
            assert found["layer"] == "w"
            assert "2 of 2 values of" in found["reason"]


def test_a_step_agrees_to_seven_digits() -> None:
    step = {f"{prefix}/w": np.ones(2) for prefix in ("loss", "gradient", "weight")}
    for quantity, prefix in PREFIXES.items():
        for share, within in ((0.9e-7, True), (1.1e-7, False)):
            other = step | {f"{prefix}/w": np.array([1.0, 1.0 + share])}
            assert compare_steps(quantity, ["w"], {"a": step, "b": other})["within"] is within


def test_a_row_holds_nothing_that_json_cannot() -> None:
    place = {"network": "n", "source": "a", "target": "b", "height": 64, "width": 64}
    row = ParityRow(
        quantity="logits", max_abs_diff=np.inf, scale=np.nan, within=False, **place
    ).row()
    assert row["max_abs_diff"] is None
    assert row["scale"] is None
