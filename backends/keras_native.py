"""Keras' own form of weights: `.weights.h5`."""

from __future__ import annotations

from pathlib import Path

import keras

from backends.errors import WeightsError
from backends.weights import require_suffix

SUFFIX = ".weights.h5"


def write(model: keras.Model, path: Path) -> None:
    """Write as `model.save_weights` does. Raises `WeightsError` for another suffix."""
    require_suffix(path, "Keras", SUFFIX)
    model.save_weights(path)


def read(model: keras.Model, path: Path) -> None:
    """Load as `model.load_weights` does. Raises `WeightsError` for any other file."""
    require_suffix(path, "Keras", SUFFIX)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; name another.")
    try:
        model.load_weights(path)
    except (ValueError, OSError, KeyError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: not weights of this network ({reason}).") from None
