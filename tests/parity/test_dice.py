"""Weights that PyTorch trained give the same masks and scores elsewhere, slice by slice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness import registry
from harness.data.catalogue import Dataset
from harness.records.store import StoredRecord, load_records
from tests.conftest import ROOT
from tests.plugins import fetalbench

PROTOCOL = """
name = "carried"
[input]
height = 64
width = 64
[training]
loss = "dice_ce"
learning_rate = 2e-3
batch_norm = "recalibrated"
epochs = 3
weights_from = "torch"
[measuring]
quantities = ["end_to_end"]
[limits]
share_process = true
"""
# Without batch normalisation, and the one whose normalisations enlarge rounding most.
NETWORKS = ("rfbsnet", "icnet")
BACKENDS = ("torch", "keras", "flax")
# One network stands for Keras' other engine: a process of its own takes as long again.
CARRIED = [(name, backend) for name in NETWORKS for backend in BACKENDS[1:]]
CARRIED.append((NETWORKS[0], "keras-jax"))
SIDE = 64
Stored = dict[tuple[str, str], StoredRecord]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("carried")
    (folder / "carried.toml").write_text(PROTOCOL)
    return folder


@pytest.fixture(scope="module")
def stored(folder: Path, disc_data: Dataset) -> Stored:
    """The records of both networks in all frameworks, and of one in Keras' JAX engine."""
    words = ("run", "--data", disc_data.folder, "--protocol", folder / "carried.toml")
    for networks, backends in ((NETWORKS, BACKENDS), (NETWORKS[:1], ("torch", "keras-jax"))):
        chosen = ("--networks", ",".join(networks), "--backends", ",".join(backends))
        done = fetalbench(*words, *chosen, site=folder, cwd=folder)
        assert done.returncode == 0, done.stderr
    found = load_records(folder / "results")
    return {(one.record.key.network, one.record.key.backend): one for one in found}


def masks(one: StoredRecord) -> np.ndarray:
    """(slices, 64, 64) predicted masks, bool."""
    packed = np.stack([np.frombuffer(mask, np.uint8) for mask in one.predictions()["mask"]])
    return np.unpackbits(packed, axis=1).reshape(-1, SIDE, SIDE).astype(bool)


def assert_same_scores(own: StoredRecord, other: StoredRecord) -> None:
    slices, others = own.slices(), other.slices()
    keys = ["set", "stack", "slice"]
    assert others[keys].equals(slices[keys])
    apart = np.abs(others["dice"].to_numpy() - slices["dice"].to_numpy())
    assert apart.max() < 1e-4


@pytest.mark.slow  # trains in PyTorch and scores in four frameworks: three minutes
@pytest.mark.parametrize(("name", "backend"), CARRIED)
def test_carried_weights_give_the_same_masks_and_scores(
    stored: Stored, name: str, backend: str
) -> None:
    own, other = stored[name, "torch"], stored[name, backend]
    assert (masks(own) == masks(other)).all()
    assert own.slices()["dice"].nunique() > 3
    assert_same_scores(own, other)
    assert "weights trained by the torch cell and carried over" in other.record.notes


def test_the_committed_leaderboard_scores_a_network_alike_in_all_frameworks() -> None:
    found = {
        (o.record.key.network, o.record.key.backend): o for o in load_records(ROOT / "results")
    }
    papers = [name for name, entry in registry.networks().items() if entry.card.published]
    for name in papers:
        for backend in BACKENDS[1:]:
            assert_same_scores(found[name, "torch"], found[name, backend])


@pytest.mark.slow  # needs the trainings of the test above
def test_another_engine_of_keras_has_a_row_of_its_own(stored: Stored, folder: Path) -> None:
    assert ("rfbsnet", "keras-jax") in stored
    done = fetalbench("report", site=folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    board = json.loads((folder / "reports" / "leaderboard.json").read_text(encoding="utf-8"))
    rows = {row["backend"]: row for row in board["rows"] if row["network"] == "rfbsnet"}
    assert set(rows) >= {"torch", "keras", "flax", "keras-jax"}
    assert rows["keras-jax"]["status"] == "ok"
    assert rows["keras-jax"]["record"] != rows["keras"]["record"]
