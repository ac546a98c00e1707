"""Counts of all nine networks equal Table 1, in each framework (processes of their own)."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness import registry

# Lists, per network: parameters, GFLOPs of convolutions, GFLOPs in the paper's convention.
PROGRAM = """
import json, sys
from backends.contract import Runtime
from harness import registry
from harness.measuring.cost import count
name = sys.argv[1]
backend = registry.load_backend(name)(Runtime(threads=1))
found = {}
for key, entry in registry.networks().items():
    if entry.implements(name) and entry.card.published:
        builder = registry.load_builder(entry, name)
        network = backend.build(builder, classes=2, height=256, width=256)
        cost = count(network.operations(), network.weight_specs())
        found[key] = [cost.trainable_parameters, cost.flops, cost.paper_convention_gflops]
print("FOUND", json.dumps(found))
"""

# spec: 2 per multiply-add of (transposed) convolutions at 256×256, to the printed digit.
CONVOLUTIONS = {
    "unet": "101.561",
    "rfbsnet": "5.3134",
    "segnet": "79.818",
    "enet": "0.9361",
    "fast_scnn": "0.5057",
    "dfanet": "0.2383",
    "shuffleseg": "0.3642",
    "shuffleseg_v2": "1.1354",
    "icnet": "1.7970",
}


def rounded(value: float, printed: str) -> str:
    """`value` with as many decimals as `printed` has."""
    return f"{value:.{len(printed.partition('.')[2])}f}"


@pytest.mark.parametrize(
    "backend",
    [
        "torch",
        pytest.param("keras", marks=pytest.mark.slow),
        pytest.param("flax", marks=pytest.mark.slow),
    ],
)
def test_counts_equal_table_1(backend):
    if registry.missing_modules(backend):
        pytest.skip(f"{backend} is not installed")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, backend], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND"))
    found = json.loads(line.removeprefix("FOUND"))
    assert sorted(found) == sorted(CONVOLUTIONS)
    for network, (parameters, flops, paper_gflops) in found.items():
        published = registry.network(network).card.published
        assert published is not None
        assert parameters == published.trainable_parameters, network
        assert rounded(flops / 1e9, CONVOLUTIONS[network]) == CONVOLUTIONS[network]
        assert rounded(paper_gflops, published.gflops) == published.gflops, network
