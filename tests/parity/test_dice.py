"""Weights that PyTorch trained score the same in Keras and in JAX, slice by slice."""

from __future__ import annotations

from pathlib import Path

from harness.data.catalogue import Dataset
from harness.records import load_records
from tests.conftest import Fetalbench

PROTOCOL = """
name = "carried"
[input]
height = 64
width = 64
[training]
loss = "dice_ce"
learning_rate = 1e-3
epochs = 3
weights_from = "torch"
[measuring]
quantities = ["end_to_end"]
[limits]
share_process = true
"""


def test_carried_weights_score_the_same_on_every_slice(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "carried.toml"
    path.write_text(PROTOCOL)
    words = ("--data", disc_data.folder, "--protocol", path, "--networks", "rfbsnet")
    done = fetalbench("run", *words, "--backends", "torch,keras,flax")
    assert done.returncode == 0, done.stderr
    found = {stored.record.key.backend: stored for stored in load_records(tmp_path / "results")}
    own = found["torch"].slices()
    assert own["dice"].nunique() > 3
    for backend in ("keras", "flax"):
        slices = found[backend].slices()
        assert (slices["stack"] == own["stack"]).all()
        assert (slices["dice"] - own["dice"]).abs().max() < 1e-4
        assert "weights trained by the torch cell and carried over" in found[backend].record.notes
