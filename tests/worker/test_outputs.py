"""What a network returns is checked before it is scored: a sentence, never a plausible Dice."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from backends.contract import Array, Runtime
from backends.errors import OutputError
from backends.numpy_backend import NumpyBackend
from harness.data.catalogue import Dataset
from harness.protocol import Protocol, parse_protocol
from harness.worker.evaluation import evaluate

Forward = Callable[[Array], Any]


def right(images: Array) -> Array:
    brain = images[..., 0] > 0.5
    return np.stack([~brain, brain], axis=3).astype(np.float32)


def changed(change: Callable[[Array], Any]) -> Forward:
    return lambda images: change(right(images))


def holed(logits: Array) -> Array:
    logits[0, 30, 30:33, 1] = np.nan
    return logits


MISBEHAVING: dict[str, tuple[Forward, str]] = {
    "NaN": (changed(lambda x: x * np.nan), "NaN or infinite logits, at 32768 of"),
    "infinite": (changed(lambda x: np.where(x > 0, np.inf, -np.inf).astype(x.dtype)), "infinite"),
    "NaN on few pixels": (changed(holed), "NaN or infinite logits, at 3 of"),
    "one row short": (changed(lambda x: x[:, :-1]), "shape (8, 63, 64, 2)"),
    "channels first": (changed(lambda x: x.transpose(0, 3, 1, 2)), "shape (8, 2, 64, 64)"),
    "one channel": (changed(lambda x: x[..., :1]), "shape (8, 64, 64, 1)"),
    "masks": (changed(lambda x: x.argmax(3)), "int64 values"),
    "one image short": (changed(lambda x: x[1:]), "shape (7, 64, 64, 2)"),
    "bool": (changed(lambda x: x > 0), "bool values"),
    "text": (changed(lambda x: x.astype(str)), "<U32 values"),
    "objects": (changed(lambda x: x.astype(object)), "object values"),
    "complex": (changed(lambda x: x.astype(complex)), "complex128 values"),
    "a list": (changed(lambda x: x.tolist()), "returns list"),
    "nothing": (lambda _: None, "returns NoneType"),
}


def protocol() -> Protocol:
    return parse_protocol({"name": "x", "input": {"height": 64, "width": 64}}, "x")


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("what", MISBEHAVING)
def test_no_misbehaving_network_is_scored(what: str, disc_data: Dataset) -> None:
    forward, sentence = MISBEHAVING[what]
    backend = NumpyBackend(Runtime())
    network = backend.build(lambda **_: forward, classes=2, height=64, width=64)
    with pytest.raises(OutputError) as caught:
        evaluate(network, disc_data, protocol())
    assert sentence in str(caught.value)


def test_the_same_network_behaving_is_scored(disc_data: Dataset) -> None:
    network = NumpyBackend(Runtime()).build(lambda **_: right, classes=2, height=64, width=64)
    assert evaluate(network, disc_data, protocol()).scores["normal"].dice > 0.3
