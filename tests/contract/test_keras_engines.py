"""Keras on its three engines gives the same logits; each engine in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from harness import registry

ROOT = Path(__file__).parents[2]
# Between them they use every layer that an engine could compute otherwise.
NETWORKS = ("rfbsnet", "segnet", "fast_scnn", "shuffleseg")

PREDICT = """
import sys
import numpy as np
from backends.contract import Runtime, TrainingOptions
from backends.errors import Unsupported
from backends.keras_backend import KerasBackend
from backends.weights import initial_values
from harness import registry
backend = KerasBackend(Runtime(threads=1))
assert backend.name == sys.argv[1], backend.name
images = np.random.default_rng(1).standard_normal((2, 64, 128, 1)).astype(np.float32)
found = {}
for name in sys.argv[3:]:
    builder = registry.load_builder(registry.network(name), backend.name)
    network = backend.build(builder, classes=2, height=64, width=128)
    network.set_weights(initial_values(network.weight_specs(), 3, ("*.kernel",)))
    found[name] = network.predict(images)
query = network.prepare(images, plan="predict", quantity="end_to_end")
assert (query.launch() == found[name].argmax(3)).all()
before = query.compilations()
query.launch()
assert query.compilations() == before
if backend.name != "keras":
    assert "tensorflow" not in sys.modules, "Keras brought TensorFlow along"
    try:
        network.trainer(TrainingOptions(loss="dice", seed=0, batch_size=2))
    except Unsupported as error:
        assert "use the backend 'keras'" in str(error)
    else:
        raise AssertionError("training was not refused")
np.savez(sys.argv[2], **found)
"""


def _predict(backend: str, path: Path) -> dict[str, np.ndarray]:
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, backend, path, *NETWORKS],
        env=dict(os.environ)
        | {"KERAS_BACKEND": registry.KERAS_ENGINES[backend], "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(path) as found:
        return dict(found)


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    return _predict("keras", tmp_path_factory.mktemp("keras") / "logits.npz")


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["keras-jax", "keras-torch"])
def test_engines_agree(backend: str, expected: dict[str, np.ndarray], tmp_path: Path) -> None:
    missing = registry.missing_modules(backend)
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    found = _predict(backend, tmp_path / "logits.npz")
    for name, logits in expected.items():
        near = 1e-4 * np.abs(logits).max()
        np.testing.assert_allclose(found[name], logits, atol=near, err_msg=name)
