"""What only PyTorch has: its own counter, the compiler, layers without a canonical name."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from backends.contract import Runtime
from backends.errors import NoDevice
from backends.torch_backend import TorchBackend
from backends.weights import initial_values
from harness import registry
from harness.measuring.cost import multiply_adds
from tests.contract import references
from tests.contract.hooks import SIDE, load

NAMES = tuple(name for name, entry in registry.networks().items() if entry.implements("torch"))


@pytest.mark.parametrize("name", NAMES)
def test_pytorch_counts_the_same_convolutions(name: str) -> None:
    builder = registry.load_builder(registry.network(name), "torch")
    with torch.device("meta"), torch.no_grad():
        module = builder(classes=2, height=256, width=256).eval()
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(1, 1, 256, 256))
    operations = load("torch").build(name, 256, 256).operations()
    assert counter.get_total_flops() == 2 * sum(map(multiply_adds, operations))
    assert operations[-1].output_size == (256, 256, 2)


def _blocks(parts: int) -> set[str]:
    """Convolutions of the blocks of a U-Net of so many sizes, below its bottleneck."""
    places = [f"encoder.{part}" for part in range(parts)] + ["bottleneck"]
    places += [f"decoder.{part}.block" for part in range(parts)]
    return {f"{place}.conv{number}.kernel" for place in places for number in (1, 2)}


HE_NORMAL = {"unet": _blocks(4), "rfbsnet": {f"deep.{kernel}" for kernel in _blocks(3)}}


@pytest.mark.parametrize(
    "name", [name for name in NAMES if registry.network(name).card.published is not None]
)
def test_the_blocks_of_the_u_nets_start_he_normal_and_nothing_else(name: str) -> None:
    specs = load("torch").network(name).weight_specs()
    # One value of each tells which rule drew it; tests/contract/test_weights.py has their spreads.
    kernels = [replace(spec, shape=(1, 1)) for spec in specs if spec.name.endswith(".kernel")]
    plain = initial_values(kernels, 0)
    drawn = initial_values(kernels, 0, registry.network(name).card.he_normal)
    he = {key for key, value in drawn.items() if value != plain[key]}
    assert he == HE_NORMAL.get(name, set())


@pytest.mark.slow
def test_compiled_plan_compiles_once() -> None:
    network = load("torch").network("fast_scnn")
    network.set_weights(references.trained_like(network.weight_specs()))
    images, _ = references.batch(1, SIDE, 2 * SIDE)
    inference = network.prepare(images, plan="compile", quantity="forward")
    inference.launch()
    assert inference.compilations() == 1
    inference.set_images(-images)
    logits = inference.logits(inference.launch())
    np.testing.assert_allclose(logits, network.predict(-images), atol=1e-4)
    assert inference.compilations() == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_a_gpu_that_is_not_there_is_unsupported() -> None:
    with pytest.raises(NoDevice, match="sees no cuda device"):
        TorchBackend(Runtime(device="cuda"))
