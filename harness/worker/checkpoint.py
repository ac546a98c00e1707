"""Checkpoints: all that a training needs to go on bit for bit, as one safetensors file."""

from __future__ import annotations

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
from backends.weights import check_weights
from harness.records import atomic

# Writing may take at most this share of the time, so that a large network is not held up.
WRITING_SHARE = 0.05


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
    validation, 0 where the last one does not. After the last epoch nobody needs `weights` and
    `optimizer` any more: they are empty then.
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

    @property
    def last(self) -> dict[str, Any]:
        """The newest row of the history, without what only the loop needs."""
        return {k: v for k, v in self.history[-1].items() if k not in ("epoch", "images")}

    def add_epoch(self, *, epoch: int, one_class: bool, **row: Any) -> None:
        """Note a finished epoch, counted from 1."""
        self.epoch = epoch + 1
        self.one_class_since = (self.one_class_since or self.epoch) if one_class else 0
        self.history.append({"epoch": self.epoch} | row)

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


class CheckpointFile:
    """One checkpoint on disk, replaced atomically; `identity` guards against another training's."""

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity
        self._written = time.monotonic()
        self._cost_seconds = 0.0

    def due(self) -> bool:
        """Whether enough time has passed that writing again is cheap."""
        return time.monotonic() - self._written >= self._cost_seconds / WRITING_SHARE

    def save(self, state: Checkpoint) -> None:
        """Write the checkpoint. Raises `EnvironmentFault` where the disk is full."""
        start = time.monotonic()
        groups = {"weights": state.weights, "optimizer": state.optimizer, "best": state.best}
        arrays = {
            f"{group}/{name}": np.asarray(value, order="C")
            for group, values in groups.items()
            for name, value in values.items()
        }
        content = {name: getattr(state, name) for name in NUMBERS} | {"identity": self.identity}
        atomic.write_bytes(self.path, save(arrays, metadata={"state": json.dumps(content)}))
        self._written = time.monotonic()
        self._cost_seconds = self._written - start

    def load(self, network: Network) -> Checkpoint | None:
        """The checkpoint of this very training, or None; a damaged one is as good as none."""
        try:
            with safe_open(self.path, framework="numpy") as file:
                content = json.loads((file.metadata() or {})["state"])
                if not isinstance(content, dict) or content.pop("identity") != self.identity:
                    return None
                groups: dict[str, dict[str, Array]] = {"weights": {}, "optimizer": {}, "best": {}}
                for key in file.keys():  # noqa: SIM118 (a safetensors file is no mapping)
                    group, _, name = key.partition("/")
                    groups[group][name] = file.get_tensor(key)
            state = Checkpoint(**groups, **{name: content[name] for name in NUMBERS})
            for name in ("weights", "best"):
                if groups[name]:
                    check_weights(groups[name], network.weight_specs(), str(self.path))
        except (OSError, SafetensorError, KeyError, ValueError, WeightsError):
            return None
        return state

    def remove(self) -> None:
        """Forget the training once its record stands."""
        self.path.unlink(missing_ok=True)
