"""A fault planted on purpose is found, and the layer is named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

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
