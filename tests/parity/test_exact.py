"""In float64 the frameworks agree so closely that no mask can differ."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backends.weights import read_arrays, to_bytes
from harness.checks.clients import WorkerClient, clients
from harness.checks.random_weights import batch
from tests.parity.test_networks import IMPLEMENTED, SHARED

SIDE = 64
BOUND = 1e-11  # absolute, of logits of order 1; found: 4e-14


@pytest.fixture(scope="module")
def workers() -> Iterator[tuple[dict[str, WorkerClient], Path]]:
    with clients(sorted({backend for name in SHARED for backend in IMPLEMENTED[name]})) as started:
        yield started


@pytest.mark.parametrize("name", SHARED)
def test_exact_logits_agree(workers: tuple[dict[str, WorkerClient], Path], name: str) -> None:
    clients, folder = workers
    place = {"name": name, "height": SIDE, "width": SIDE}
    inputs, weights = folder / "inputs", folder / f"{name}-weights"
    inputs.write_bytes(to_bytes({"images": batch(SIDE, SIDE, 1)[0][:2]}))
    first, *others = IMPLEMENTED[name]
    clients[first].ask("draw", seed=0, weights=weights, inputs=inputs, **place)
    given = {"weights": weights, "inputs": inputs, **place}
    outs = {backend: folder / f"{name}-{backend}" for backend in (first, *others)}
    asked = [clients[backend].submit("exact", out=out, **given) for backend, out in outs.items()]
    clients[first].ask("logits", out=folder / "float32", **given)
    for answer in asked:
        answer.result()
    exact = {backend: read_arrays(out)["logits"] for backend, out in outs.items()}
    rounded = read_arrays(folder / "float32")["logits"]
    assert {logits.dtype for logits in exact.values()} == {np.dtype(np.float64)}
    # The same network, and another precision: float32 is off by its rounding and no more.
    assert 1e-8 < np.abs(rounded - exact[first]).max() < 1e-4
    for backend in others:
        assert np.abs(exact[backend] - exact[first]).max() < BOUND, backend
