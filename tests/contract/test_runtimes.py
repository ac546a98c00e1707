"""Deployment runtimes as plans of the torch backend, and the export's proof."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness import registry
from harness.deploy.export import Proof

NEEDED = ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
needs_runtimes = pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")

PROGRAM = """
import json, sys
import numpy as np
from pathlib import Path
from backends.contract import Runtime
from harness.deploy.loading import build_network
from harness.deploy.export import ExportDiffers, export
from harness.protocol import Input
folder, plans = Path(sys.argv[1]), ("onnxruntime", "openvino")
chosen = Input(height=64, width=64)
_, network = build_network("rfbsnet", "torch", chosen, Runtime(threads=1), None)
images = np.random.default_rng(0).standard_normal((6, 64, 64, 1)).astype(np.float32)
expected = network.predict(images)
found = {}
for plan in plans:
    forward = network.prepare(images[:3], plan=plan, quantity="forward")
    first = forward.logits(forward.launch())
    forward.set_images(images[3:])
    second = forward.logits(forward.launch())
    both = np.concatenate([first, second])
    masks = network.prepare(images[:1], plan=plan, quantity="end_to_end").launch()
    found[plan] = [
        float(np.abs(both - expected).max() / np.abs(expected).max()),
        masks.dtype.name, masks.shape, int((masks != expected[:1].argmax(-1)).sum()),
        forward.compilations(),
    ]
proofs = export(network, "rfbsnet", chosen, folder / "net.onnx")
import onnx
model = onnx.load(folder / "net.onnx")
properties = {entry.key: entry.value for entry in model.metadata_props}
opset = model.opset_import[0].version
network.set_weights({k: v + np.float32(.5) for k, v in network.weights().items()})
other = network.run_exported
network.run_exported = lambda path, images: {k: v + 1 for k, v in other(path, images).items()}
try:
    export(network, "rfbsnet", chosen, folder / "wrong.onnx")
    refused = ""
except ExportDiffers as error:
    refused = str(error)
print("FOUND", json.dumps([found, [p.within for p in proofs], properties, opset, refused]))
"""


@needs_runtimes
def test_runtimes_compute_what_the_network_computes(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND"))
    found, within, properties, opset, refused = json.loads(line.removeprefix("FOUND"))
    for difference, dtype, shape, pixels, compilations in found.values():
        assert difference < 1e-4
        assert (dtype, shape, pixels, compilations) == ("uint8", [1, 64, 64], 0, 0)
    assert within == [True, True]
    assert opset == 18
    assert properties["network"] == "rfbsnet"
    assert "normalise by per_slice" in properties["preprocessing"]
    assert len(properties["weights_sha256"]) == 64
    assert "nothing was written" in refused
    assert [path.name for path in sorted(tmp_path.iterdir())] == ["net.onnx"]


@pytest.mark.parametrize(
    ("difference", "pixels", "within"), [(1e-6, 0, True), (1e-2, 0, False), (1e-6, 500, False)]
)
def test_proof_is_strict(difference, pixels, within):
    proof = Proof(
        runtime="ONNX Runtime",
        max_abs_logit_difference=difference,
        max_abs_logit=1.0,
        mask_pixels=pixels,
        pixels=3 * 64 * 64,
    )
    assert proof.within is within


@needs_runtimes
@pytest.mark.slow  # exporting a deep network takes ten seconds
@pytest.mark.parametrize(
    "network", [name for name, entry in registry.networks().items() if entry.implements("torch")]
)
def test_every_network_is_exported_and_proven(network: str, tmp_path: Path):
    words = ["export", network, "--size", "64x128", "--out", str(tmp_path / "net.onnx"), "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "harness.cli", *words], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    proofs = json.loads(done.stdout)
    assert [proof["runtime"] for proof in proofs] == ["ONNX Runtime", "OpenVINO"]
    assert all(proof["within"] for proof in proofs)
