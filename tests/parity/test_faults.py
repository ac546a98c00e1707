"""Faults planted on purpose are found, and the layer is named."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.parity import best_image, difference, first_difference
from harness.scaffold import new_network
from tests.plugins import fetalbench, install

# PyTorch's habit at stride 2: one row before, where SAME pads one after.
PADDED_BEFORE = '''

class PaddedBefore(ConvNormReLU):
    """Pads before instead of after."""

    def __call__(self, x: jax.Array) -> jax.Array:
        return super().__call__(jnp.roll(x, 1, axis=(1, 2)))

'''


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    """A package whose Flax network pads its second layer differently."""
    new_network("shifted_net", tmp_path / "package")
    path = tmp_path / "package/fetalbench_shifted_net/flax_net.py"
    text = path.read_text(encoding="utf-8").replace(
        "import jax\n", "import jax\nimport jax.numpy as jnp\n"
    )
    text = text.replace("self.middle = ConvNormReLU", "self.middle = PaddedBefore")
    text = text.replace("\n\nclass ShiftedNet", PADDED_BEFORE + "\nclass ShiftedNet")
    path.write_text(text, encoding="utf-8")
    install(tmp_path / "package", tmp_path / "site")
    return tmp_path / "site"


def test_another_padding_is_found_and_its_layer_named(broken: Path, tmp_path: Path) -> None:
    words = ("parity", "--networks", "shifted_net", "--backends", "torch,flax", "--size", "64x64")
    done = fetalbench(*words, "--no-training", "--json", site=broken, cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    for row in json.loads(done.stdout):
        assert not row["within"]
        assert row["layer"] == "middle.conv"


def test_differences_count_what_is_not_finite_or_of_another_shape() -> None:
    ones = np.ones((2, 2), np.float32)
    assert difference(ones, ones + np.float32(0.5)) == 0.5
    assert difference(ones, ones[:1]) == float("inf")
    assert difference(ones, ones * np.float32(np.nan)) == float("inf")


def test_a_tie_in_one_image_is_no_fault_and_a_shift_in_all_is_one() -> None:
    """The rule for networks that unpool."""
    small = np.zeros((3, 64, 64, 2), np.float32)
    tie, shift = small.copy(), small + np.float32(3e-4)
    tie[0, :30, :30] = 0.2
    assert best_image(small, tie, 1.0) == (0.0, True)
    assert best_image(small, shift, 1.0) == (pytest.approx(3e-4), False)
    tie[:, :30, :30] = 0.2
    assert best_image(small, tie, 1.0) == (pytest.approx(0.2), False)
    large = np.zeros((2, 256, 256, 2), np.float32)
    tie = large.copy()
    tie[:, :90, :90] = 0.2
    assert best_image(large, tie, 1.0) == (pytest.approx(0.2), True)
    assert best_image(large, large + np.float32(3e-4), 1.0)[1] is False
    assert best_image(large, large * np.float32(np.nan), 1.0)[1] is False


def test_the_first_layer_that_differs_is_named() -> None:
    source = {name: np.zeros(3, np.float32) for name in ("a", "b", "c")}
    target = source | {"b": np.full(3, 1e-3, np.float32), "c": np.ones(3, np.float32)}
    order = ["a", "b", "c"]
    assert first_difference(source, source, order) == ""
    assert first_difference(source, target, order) == "b"
    assert first_difference(source, {"a": source["a"]}, order) == "b (missing)"
