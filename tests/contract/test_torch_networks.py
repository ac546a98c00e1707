"""The nine networks in PyTorch: counted, run and differentiated."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from backends.contract import Runtime
from backends.errors import (
    BackendError,
    SizeError,
    Unsupported,
    WeightsError,
)
from backends.torch_backend import TorchBackend
from backends.torch_network import TorchNetwork
from backends.weights import initial_values
from harness import registry
from harness.measuring.cost import multiply_adds

NAMES = tuple(name for name, entry in registry.networks().items() if entry.implements("torch"))
# At 64×64 the deepest maps of DFANet and Fast-SCNN are 1×1 and 2×2, so that nothing is hidden.
SIDE = 64


@pytest.fixture(scope="module")
def backend() -> TorchBackend:
    return TorchBackend(Runtime())


def _build(backend: TorchBackend, name: str, height: int = SIDE, width: int = SIDE) -> TorchNetwork:
    builder = registry.load_builder(registry.network(name), "torch")
    return backend.build(builder, classes=2, height=height, width=width)


def _trained_like(network: TorchNetwork, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights as after training: biases not zero, statistics away from 0 and 1."""
    random = np.random.default_rng(seed)
    weights = initial_values(network.weight_specs(), seed)
    for name, value in weights.items():
        noise = random.standard_normal(value.shape).astype(np.float32)
        match name.rpartition(".")[2]:
            case "gamma" | "variance":
                weights[name] = np.exp(0.2 * noise)
            case "bias" | "beta" | "mean" | "alpha":
                weights[name] = 0.1 * noise
    return weights


def _images(count: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    shape = (count, height, width, 1)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_convolutions_are_those_of_the_paper(
    backend: TorchBackend, name: str
) -> None:
    entry = registry.network(name)
    builder = registry.load_builder(entry, "torch")
    with torch.device("meta"), torch.no_grad():
        module = builder(classes=2, height=256, width=256).eval()
        with FlopCounterMode(display=False) as counter:
            module(torch.empty(1, 1, 256, 256))
    network = _build(backend, name, 256, 256)
    if published := entry.card.published:
        trainable = sum(prod(spec.shape) for spec in network.weight_specs() if spec.trainable)
        assert trainable == published.trainable_parameters
    operations = network.operations()
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
def test_the_blocks_of_the_u_nets_start_he_normal_and_nothing_else(
    backend: TorchBackend, name: str
) -> None:
    specs = _build(backend, name).weight_specs()
    # One value of each tells which rule drew it; tests/unit/test_weights.py has their spreads.
    kernels = [replace(spec, shape=(1, 1)) for spec in specs if spec.name.endswith(".kernel")]
    plain = initial_values(kernels, 0)
    drawn = initial_values(kernels, 0, registry.network(name).card.he_normal)
    he = {key for key, value in drawn.items() if value != plain[key]}
    assert he == HE_NORMAL.get(name, set())


@pytest.mark.parametrize("name", NAMES)
def test_batch_of_one_equals_batch_of_many(backend: TorchBackend, name: str) -> None:
    network = _build(backend, name, 64, 128)
    network.set_weights(_trained_like(network))
    images = _images(3, 64, 128)
    together = network.predict(images)
    alone = np.concatenate([network.predict(image[None]) for image in images])
    assert together.shape == (3, 64, 128, 2)
    assert np.isfinite(together).all()
    np.testing.assert_allclose(alone, together, atol=1e-5 * np.abs(together).max())


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_gets_a_gradient(backend: TorchBackend, name: str) -> None:
    network = _build(backend, name)
    network.set_weights(_trained_like(network))
    before = network.weights()
    masks = (_images(2)[..., 0] > 0).astype(np.uint8)
    found = network.gradients(_images(2), masks, "dice_ce")
    assert list(found) == [spec.name for spec in network.weight_specs() if spec.trainable]
    assert [key for key, value in found.items() if not value.any()] == []
    # Running statistics are the network's business only while it trains.
    after = network.weights()
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_as_they_went_in(backend: TorchBackend, name: str) -> None:
    network = _build(backend, name)
    given = _trained_like(network)
    network.set_weights(given)
    back = network.weights()
    assert list(back) == [spec.name for spec in network.weight_specs()]
    assert all(np.array_equal(back[key], given[key]) for key in given)
    layers = {key.rpartition(".")[0] for key in given}
    assert set(network.activations(_images(1))) == layers


def test_weights_of_another_network_are_refused(backend: TorchBackend) -> None:
    network = _build(backend, "rfbsnet")
    weights = network.weights()
    weights["head.kernel"] = np.zeros((3, 3, 32, 2), np.float32)
    with pytest.raises(WeightsError, match=r"head\.kernel.*expected \(1, 1, 32, 2\)"):
        network.set_weights(weights)


def test_sizes_and_images_that_do_not_fit_are_refused(backend: TorchBackend) -> None:
    with pytest.raises(SizeError, match="100 is not a multiple of 64"):
        _build(backend, "rfbsnet", 100, 64)
    network = _build(backend, "rfbsnet")
    with pytest.raises(SizeError, match="3 channels"):
        network.predict(np.zeros((1, SIDE, SIDE, 3), np.float32))


class _Exponential(nn.Module):
    def forward(self, input: torch.Tensor) -> torch.Tensor:
        return torch.cat([input, input.exp()], 1)


def test_an_operation_without_a_count_is_unsupported(backend: TorchBackend) -> None:
    network = backend.build(lambda **_: _Exponential(), classes=2, height=SIDE, width=SIDE)
    with pytest.raises(Unsupported, match=r"aten\.exp"):
        network.operations()


def test_weights_without_a_canonical_name_are_unsupported(backend: TorchBackend) -> None:
    with pytest.raises(Unsupported, match="Linear"):
        backend.build(lambda **_: nn.Linear(1, 2), classes=2, height=SIDE, width=SIDE)


@pytest.mark.parametrize("plan", ["eager", "eager-channels-first"])
def test_plans_answer_as_the_evaluation_does(backend: TorchBackend, plan: str) -> None:
    network = _build(backend, "fast_scnn")
    network.set_weights(_trained_like(network))
    first, second = _images(2), -_images(2)
    first.flags.writeable = False
    inference = network.prepare(first, plan=plan, quantity="forward")
    compilations = inference.compilations()
    for images in (first, second):
        inference.set_images(images)
        result = inference.launch()
        inference.synchronise(result)
        np.testing.assert_allclose(inference.logits(result), network.predict(images), atol=1e-4)
    assert inference.compilations() == compilations
    whole = network.prepare(second, plan=plan, quantity="end_to_end").launch()
    assert whole.dtype == np.uint8
    agreement = (whole == network.predict(second).argmax(3)).mean()
    assert agreement == 1.0 if plan == "eager" else agreement > 0.999


def test_bfloat16_is_near_and_not_equal(backend: TorchBackend) -> None:
    network = _build(backend, "rfbsnet")
    network.set_weights(_trained_like(network))
    inference = network.prepare(_images(1), plan="eager-bfloat16", quantity="forward")
    difference = np.abs(inference.logits(inference.launch()) - network.predict(_images(1))).max()
    assert 1e-6 < difference < 0.1
    ones, side = np.ones((64, 64), np.float32), np.full((64, 64), 1.0001, np.float32)
    assert backend.multiply(side, ones, plan="eager-bfloat16")[0, 0] == 64.0
    assert backend.multiply(side, ones, plan="eager")[0, 0] == pytest.approx(64.0064, abs=1e-3)


@pytest.mark.slow
def test_compiled_plan_compiles_once(backend: TorchBackend) -> None:
    network = _build(backend, "fast_scnn")
    network.set_weights(_trained_like(network))
    inference = network.prepare(_images(1), plan="compile", quantity="forward")
    assert inference.compilations() == 1
    inference.set_images(-_images(1))
    logits = inference.logits(inference.launch())
    np.testing.assert_allclose(logits, network.predict(-_images(1)), atol=1e-4)
    assert inference.compilations() == 1


def test_what_cannot_run_here_says_so(backend: TorchBackend) -> None:
    network = _build(backend, "rfbsnet")
    with pytest.raises(BackendError, match="choose one of eager"):
        network.prepare(_images(1), plan="turbo", quantity="forward")
    with pytest.raises(Unsupported, match="needs cuda, not cpu"):
        network.prepare(_images(1), plan="cuda-graphs", quantity="forward")
    assert backend.memory()["allocated_peak_bytes"].reason
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device, so nothing is refused")
    with pytest.raises(Unsupported, match="no CUDA device"):
        TorchBackend(Runtime(device="cuda"))
