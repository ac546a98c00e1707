"""In float64 the frameworks agree so closely that no mask can differ."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backends.weights import read_arrays, to_bytes
from harness.checks.random_weights import batch
from tests.conftest import Workers
from tests.parity.test_networks import IMPLEMENTED, SHARED

SIDE = 64
BOUND = 1e-11  # absolute, of logits of order 1; found: 4e-14


@pytest.mark.parametrize("name", SHARED)
def test_exact_logits_agree(worker: Workers, tmp_path: Path, name: str) -> None:
    place = {"name": name, "height": SIDE, "width": SIDE}
    inputs, weights = tmp_path / "inputs", tmp_path / f"{name}-weights"
    inputs.write_bytes(to_bytes({"images": batch(SIDE, SIDE, 1)[0][:2]}))
    first, *others = IMPLEMENTED[name]
    worker(first).ask("draw", seed=0, weights=weights, inputs=inputs, **place)
    given = {"weights": weights, "inputs": inputs, **place}
    outs = {backend: tmp_path / f"{name}-{backend}" for backend in (first, *others)}
    asked = [worker(backend).submit("exact", out=out, **given) for backend, out in outs.items()]
    worker(first).ask("logits", out=tmp_path / "float32", **given)
    for answer in asked:
        answer.result()
    exact = {backend: read_arrays(out)["logits"] for backend, out in outs.items()}
    rounded = read_arrays(tmp_path / "float32")["logits"]
    assert {logits.dtype for logits in exact.values()} == {np.dtype(np.float64)}
    # The same network, and another precision: float32 is off by its rounding and no more.
    assert 1e-8 < np.abs(rounded - exact[first]).max() < 1e-4
    for backend in others:
        assert np.abs(exact[backend] - exact[first]).max() < BOUND, backend
