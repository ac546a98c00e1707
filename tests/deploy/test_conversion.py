"""`fetalbench weights convert`: into each framework's own form and back, to the bit."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from backends.weights import digest, read_arrays, to_bytes
from harness.checks.clients import WorkerFault
from harness.deploy.conversion import convert
from tests.conftest import ROOT, Fetalbench, Workers

NETWORK = "enet"  # convolutions of every kind, normalisation, PReLU


@pytest.fixture(scope="module")
def weights(worker: Workers, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained-like canonical weights of the network."""
    path = tmp_path_factory.mktemp("weights") / "ours.safetensors"
    inputs = path.with_name("inputs.safetensors")
    inputs.write_bytes(to_bytes({"images": np.zeros((1, 64, 64, 1), np.float32)}))
    what = {"name": NETWORK, "height": 64, "width": 64, "seed": 0}
    worker("torch").ask("draw", **what, weights=path, inputs=inputs)
    return path


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("torch", "state.pt"),
        ("torch", "state.safetensors"),
        ("keras", "net.weights.h5"),
        ("flax", "state.msgpack"),
    ],
)
def test_there_and_back(
    worker: Workers, weights: Path, tmp_path: Path, backend: str, name: str
) -> None:
    there, back = tmp_path / name, tmp_path / "back.safetensors"
    found = convert(worker(backend), weights, there, network=NETWORK, back=False)
    assert found == digest(read_arrays(weights))
    assert convert(worker(backend), there, back, network=NETWORK, back=True) == found
    assert back.read_bytes() == weights.read_bytes()


def test_the_command_converts_there_and_back(
    fetalbench: Fetalbench, weights: Path, tmp_path: Path
) -> None:
    words = ("weights", "convert", "--network", NETWORK, "--backend", "torch")
    there = fetalbench(*words, weights, "--to", "state.safetensors")
    assert there.returncode == 0, there.stderr
    assert digest(read_arrays(weights)) in there.stdout
    back = fetalbench(*words, "state.safetensors", "--to", "back.safetensors", "--back")
    assert back.returncode == 0, back.stderr
    assert (tmp_path / "back.safetensors").read_bytes() == weights.read_bytes()
    # PyTorch's form has PyTorch's names and layouts.
    state, ours = read_arrays(tmp_path / "state.safetensors"), read_arrays(weights)
    kernel = ours["stem.conv.kernel"]
    np.testing.assert_array_equal(state["stem.conv.weight"], kernel.transpose(3, 2, 0, 1))
    np.testing.assert_array_equal(state["stem.norm.running_var"], ours["stem.norm.variance"])


def _snippets() -> dict[str, str]:
    """The Python of docs/weights.md, by the backend whose file it loads."""
    text = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    return {re.search(r"(torch|keras|flax)_net", block)[1]: block for block in blocks}  # type: ignore[index]


@pytest.mark.parametrize(
    ("backend", "name"),
    [
        ("torch", "enet.pt"),
        # TensorFlow's and XLA's start, once more.
        pytest.param("keras", "enet.weights.h5", marks=pytest.mark.slow),
        pytest.param("flax", "enet.msgpack", marks=pytest.mark.slow),
    ],
)
def test_the_documented_snippets_load_and_run(
    worker: Workers, weights: Path, tmp_path: Path, backend: str, name: str
) -> None:
    convert(worker(backend), weights, tmp_path / name, network=NETWORK, back=False)
    snippet = f"{_snippets()[backend]}\nprint(*masks.shape)\n"
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", snippet],
        cwd=tmp_path,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["1", "64", "64"]


def test_what_does_not_fit_is_one_sentence(worker: Workers, weights: Path, tmp_path: Path) -> None:
    arrays = read_arrays(weights)
    name = next(iter(sorted(arrays)))
    less = tmp_path / "less.safetensors"
    less.write_bytes(to_bytes({key: value for key, value in arrays.items() if key != name}))
    noise = tmp_path / "noise.safetensors"
    noise.write_bytes(b"no safetensors file")
    empty = tmp_path / "empty.pt"
    empty.touch()
    out = tmp_path / "out.pt"
    cases = [
        ("to_native", less, out, f"weight {name!r} is missing"),
        ("to_native", noise, out, "not a safetensors file"),
        ("to_native", tmp_path / "none.safetensors", out, "no such file"),
        ("to_native", weights, tmp_path / "x.onnx", "ends in .safetensors or .pt"),
        ("from_native", empty, tmp_path / "x.safetensors", "not a state dict"),
        ("from_native", weights, tmp_path / "x.safetensors", "not one of this network's"),
    ]
    for verb, source, target, sentence in cases:
        with pytest.raises(WorkerFault, match=re.escape(sentence)) as caught:
            worker("torch").ask(verb, name=NETWORK, height=64, width=64, weights=source, out=target)
        assert caught.value.exit_code == 3
        assert not target.exists()


def test_a_wrong_digest_and_a_file_that_is_there_are_refused(
    fetalbench: Fetalbench, weights: Path, tmp_path: Path
) -> None:
    words = ("weights", "convert", weights, "--network", NETWORK, "--backend", "torch")
    wrong = fetalbench(*words, "--to", "x.pt", "--sha256", "0" * 64)
    assert (wrong.returncode, "have the digest" in wrong.stderr) == (3, True)
    assert not (tmp_path / "x.pt").exists()
    (tmp_path / "there.pt").touch()
    there = fetalbench(*words, "--to", "there.pt")
    assert (there.returncode, "exists already" in there.stderr) == (2, True)
