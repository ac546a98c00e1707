"""Weights that PyTorch trained give the same masks and scores elsewhere, slice by slice."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from backends.weights import read_arrays, to_bytes
from harness.data.catalogue import Dataset
from harness.data.preparation import prepare
from harness.launch.probes import probes
from harness.protocol import load_protocol
from harness.records import StoredRecord, load_records
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
# Without and with batch normalisation.
NETWORKS = ("rfbsnet", "fast_scnn")
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


@pytest.fixture(scope="module")
def margins(
    stored: Stored, folder: Path, disc_data: Dataset
) -> dict[str, tuple[np.ndarray, float]]:
    """PyTorch's logit of the brain minus that of the background, (slices, 64, 64), and the bound.

    Frameworks are held to 1e-4 in logits of order 1 (`fetalbench parity`), so that the two logits
    of a pixel move apart by twice that at most: where the margin is more, no mask may differ.
    """
    chosen = load_protocol(str(folder / "carried.toml")).input.model_dump(exclude={"classes"})
    found = {}
    with probes(["torch"]) as (workers, scratch):
        inputs, out = scratch / "inputs", scratch / "logits"
        for name in NETWORKS:
            one = stored[name, "torch"]
            # In the order of the record's slices, set by set.
            names = one.slices()["set"].unique()
            images = [prepare(disc_data, disc_data.rows(n), **chosen)[0] for n in names]
            inputs.write_bytes(to_bytes({"images": np.concatenate(images)}))
            weights = one.folder / "weights.safetensors"
            place = {"name": name, "height": SIDE, "width": SIDE}
            workers["torch"].ask("logits", weights=weights, inputs=inputs, out=out, **place)
            logits = read_arrays(out)["logits"]
            scale = float(np.sqrt(np.mean(np.square(logits, dtype=np.float64))))
            found[name] = logits[..., 1] - logits[..., 0], 2 * 1e-4 * max(1.0, scale)
    return found


def masks(one: StoredRecord) -> np.ndarray:
    """(slices, 64, 64) predicted masks, bool."""
    packed = np.stack([np.frombuffer(mask, np.uint8) for mask in one.predictions()["mask"]])
    return np.unpackbits(packed, axis=1).reshape(-1, SIDE, SIDE).astype(bool)


@pytest.mark.parametrize(("name", "backend"), CARRIED)
def test_carried_weights_give_the_same_masks_and_scores(
    stored: Stored, margins: dict[str, tuple[np.ndarray, float]], name: str, backend: str
) -> None:
    own, other = stored[name, "torch"], stored[name, backend]
    margin, bound = margins[name]
    # The margins are those of the masks, so the slices are in one order.
    assert (masks(own) == (margin > 0)).all()
    near = np.abs(margin) <= bound
    assert not ((masks(own) != masks(other)) & ~near).any()
    clear = ~near.any((1, 2))
    assert clear.mean() > 0.5
    slices, others = own.slices(), other.slices()
    assert slices["dice"].nunique() > 3
    assert others[["stack", "slice"]].equals(slices[["stack", "slice"]])
    apart = np.abs(others["dice"].to_numpy() - slices["dice"].to_numpy())
    assert apart[clear].max() < 1e-4
    assert "weights trained by the torch cell and carried over" in other.record.notes


def test_another_engine_of_keras_has_a_row_of_its_own(stored: Stored, folder: Path) -> None:
    assert ("rfbsnet", "keras-jax") in stored
    done = fetalbench("report", site=folder, cwd=folder)
    assert done.returncode == 0, done.stderr
    board = json.loads((folder / "reports" / "leaderboard.json").read_text(encoding="utf-8"))
    rows = {row["backend"]: row for row in board["rows"] if row["network"] == "rfbsnet"}
    assert set(rows) >= {"torch", "keras", "flax", "keras-jax"}
    assert rows["keras-jax"]["status"] == "ok"
    assert rows["keras-jax"]["record"] != rows["keras"]["record"]
