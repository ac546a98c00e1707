"""Flax's own form of weights: the pure dictionary of a module's state as msgpack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from flax import serialization, traverse_util

from backends.contract import Array, Weights
from backends.errors import WeightsError
from backends.weights import require_suffix

SUFFIX = ".msgpack"


def write(weights: Weights, path: Path) -> None:
    """Write canonical weights as a tree of attribute names. Raises `WeightsError`."""
    require_suffix(path, "Flax", SUFFIX)
    tree = traverse_util.unflatten_dict(dict(weights), sep=".")
    path.write_bytes(serialization.msgpack_serialize(tree))


def read(path: Path) -> dict[str, Array]:
    """Canonical weights of such a file. Raises `WeightsError` for any other file."""
    require_suffix(path, "Flax", SUFFIX)
    try:
        tree = serialization.msgpack_restore(path.read_bytes())
        weights: dict[str, Any] = dict(traverse_util.flatten_dict(tree, sep="."))
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; name another.") from None
    except (ValueError, TypeError, AttributeError, AssertionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: not a Flax state as msgpack ({reason}).") from None
    for name, value in weights.items():
        if not isinstance(value, np.ndarray):
            raise WeightsError(f"{path}: {name!r} is not an array.")
    return weights
