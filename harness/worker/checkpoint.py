"""Checkpoints: all that a training needs to resume bit for bit, as one safetensors file."""

from __future__ import annotations

import hashlib
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from backends.contract import Array, Network
from backends.errors import WeightsError
from backends.weights import check_weights, digest
from harness import registry
from harness.jobs.job import Job
from harness.records import atomic, store
from harness.records.provenance import fetalbench_version, source_digest
from harness.records.schema import CellKey

# Writing may take at most this share of the time, so that a large network is not held up.
WRITING_SHARE = 0.05
# What must be the same for a training to resume, and how a sentence says that it is not.
OTHERS = {
    "cell": "of another cell",
    "device": "on another device",
    "precision": "in another precision",
    "threads": "with another number of threads",
    "versions": "by other versions of fetalbench or the framework",
    "code": "by other code",
    "forced": "for another record",
}
# What stands as JSON in the file's metadata, beside the arrays and the identity.
NUMBERS = (
    "epoch",
    "step",
    "best_epoch",
    "best_dice",
    "best_one_class",
    "one_class_since",
    "history",
)


@dataclass
class Checkpoint:
    """The state of a training after `epoch` whole epochs.

    `one_class_since` is the first of the newest epochs that all predict one class everywhere on
    validation, 0 if the last one does not. After the last epoch `weights` and `optimizer` are not
    needed any more: they are empty then.
    """

    weights: dict[str, Array]
    optimizer: dict[str, Array] = field(default_factory=dict)
    best: dict[str, Array] = field(default_factory=dict)
    epoch: int = 0
    step: int = 0
    best_epoch: int = 0
    best_dice: float = -1.0
    best_one_class: bool = True
    one_class_since: int = 0
    history: list[dict[str, Any]] = field(default_factory=list)

    def add_epoch(self, row: dict[str, Any], *, one_class: bool) -> None:
        """Note a finished epoch by its row of the history."""
        self.epoch += 1
        self.one_class_since = (self.one_class_since or self.epoch) if one_class else 0
        self.history.append(row)

    def keep_best(self, weights: dict[str, Array], dice: float, *, one_class: bool) -> None:
        """Take the weights of the current epoch as the best so far."""
        self.best, self.best_epoch = weights, self.epoch
        self.best_dice, self.best_one_class = dice, one_class

    def images_per_second(self) -> float | None:
        """Median throughput over the epochs after the first, which compiles."""
        rates = [row["images"] / row["seconds"] for row in self.history[1:]]
        return float(np.median(rates)) if rates else None

    def history_table(self) -> pd.DataFrame:
        """epoch, learning_rate, train_loss, validation_dice, seconds."""
        return pd.DataFrame(self.history).drop(columns=["images"])


class UnusableCheckpoint(Exception):
    """A checkpoint that cannot be resumed; the text is the sentence for the user."""


class CheckpointFile:
    """One checkpoint on disk, replaced atomically; `identity` guards against another training's."""

    def __init__(self, path: Path, identity: dict[str, Any]) -> None:
        self.path = path
        self.identity = identity
        self._written = time.monotonic()
        self._cost_seconds = 0.0

    def due(self) -> bool:
        """Whether enough time has passed that writing again is cheap."""
        return time.monotonic() - self._written >= self._cost_seconds / WRITING_SHARE

    def save(self, state: Checkpoint) -> None:
        """Write the checkpoint. Raises `EnvironmentFault` if the disk is full."""
        start = time.monotonic()
        groups = {"weights": state.weights, "optimizer": state.optimizer, "best": state.best}
        arrays = {
            f"{group}/{name}": np.asarray(value, order="C")
            for group, values in groups.items()
            for name, value in values.items()
        }
        content = {name: getattr(state, name) for name in NUMBERS} | {"identity": self.identity}
        state_json = json.dumps(content)
        metadata = {"state": state_json, "sha256": _checksum(arrays, state_json)}
        atomic.write_bytes(self.path, save(arrays, metadata=metadata))
        self._written = time.monotonic()
        self._cost_seconds = self._written - start

    def load(self, network: Network) -> Checkpoint | None:
        """The checkpoint of this very training, None if there is none.

        Raises `UnusableCheckpoint` if it is damaged or of another training.
        """
        try:
            with safe_open(self.path, framework="numpy") as file:
                metadata = file.metadata() or {}
                content = json.loads(metadata["state"])
                self._require_own(content["identity"])
                arrays = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            if metadata["sha256"] != _checksum(arrays, metadata["state"]):
                raise ValueError("a bit has flipped")
            groups: dict[str, dict[str, Array]] = {"weights": {}, "optimizer": {}, "best": {}}
            for key, value in arrays.items():
                group, _, name = key.partition("/")
                groups[group][name] = value
            state = Checkpoint(**groups, **{name: content[name] for name in NUMBERS})
            for name in ("weights", "best"):
                if groups[name]:
                    check_weights(groups[name], network.weight_specs(), str(self.path))
        except FileNotFoundError:
            return None
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, WeightsError):
            raise UnusableCheckpoint(
                "the checkpoint is damaged: training starts from the beginning"
            ) from None
        return state

    def _require_own(self, identity: Any) -> None:
        known = isinstance(identity, dict)
        others = [
            words
            for name, words in OTHERS.items()
            if not known or identity.get(name) != self.identity.get(name)
        ]
        if others:
            how = ", ".join(others) if known else "by an older version of fetalbench"
            raise UnusableCheckpoint(
                f"the checkpoint was written {how}: training starts from the beginning"
            )

    def remove(self) -> None:
        """Forget the training once its record stands."""
        self.path.unlink(missing_ok=True)


def _checksum(arrays: dict[str, Array], state_json: str) -> str:
    """sha256 over all that a checkpoint holds: a flipped bit would train on from other weights."""
    return hashlib.sha256(f"{digest(arrays)} {state_json}".encode()).hexdigest()


def checkpoint_of(job: Job, cell: CellKey) -> CheckpointFile:
    """The checkpoint of a cell's training; there is none before its first epoch.

    Only the same cell, device, thread count and code resume it. A forced job trains from the start,
    once for each record that it replaces: interrupted and given again, it resumes from its own
    checkpoint, since no record has come between.
    """
    folder = store.work_folder(job.results, job.machine, cell)
    identity: dict[str, Any] = {
        "cell": cell.model_dump(),
        "device": job.device,
        "precision": job.protocol.training_of(cell.network).precision,
        "threads": job.threads,
        "versions": [fetalbench_version(), registry.framework_versions(cell.backend)],
        "code": _code(cell),
    }
    if job.force:
        stored = store.find_usable(job.results, job.machine, cell)
        identity["forced"] = ["forced", stored.record.created_at if stored else None]
    return CheckpointFile(folder / store.CHECKPOINT, identity)


def _code(cell: CellKey) -> str:
    """A digest of what trains the cell: the network, the backends, the data and the loop."""
    root = Path(__file__).parents[1]
    loop = ("training.py", "collapse.py", "masks.py", "checkpoint.py", "weights.py")
    sources = [registry.network(cell.network).folder, registry.BACKENDS_FOLDER, root / "data"]
    return source_digest([*sources, *(root / "worker" / name for name in loop)])
