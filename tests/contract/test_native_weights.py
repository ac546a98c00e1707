"""A network of any layers in PyTorch: its weights travel as PyTorch has them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from backends.contract import Runtime, TrainingOptions
from backends.errors import BackendError, Unsupported
from backends.plans import PLANS
from backends.torch_backend import TorchBackend
from backends.torch_network import TorchNetwork
from backends.weights import digest, read_weights, starting_values, to_bytes
from harness.checks.random_weights import images_and_masks
from harness.measuring import cost

SIDE, WIDTH = 64, 8
IMAGES, MASKS = images_and_masks(4, SIDE, SIDE, 1)


class Mixed(nn.Module):
    """Group, layer and instance normalisation, attention, a raw parameter, a scalar, a buffer."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, WIDTH, 8, stride=8)
        self.group = nn.GroupNorm(2, WIDTH)
        self.instance = nn.InstanceNorm2d(WIDTH, affine=True)
        self.layer = nn.LayerNorm(WIDTH)
        self.attention = nn.MultiheadAttention(WIDTH, 2, batch_first=True)
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.place = nn.Parameter(torch.randn(1, 64, WIDTH))
        self.scale = nn.Parameter(torch.tensor(1.0))
        self.order: Tensor
        self.register_buffer("order", torch.arange(64))
        self.head = nn.ConvTranspose2d(WIDTH, classes, 8, stride=8)

    def forward(self, input: Tensor) -> Tensor:
        x = self.instance(self.group(self.stem(input)))
        n, c, h, w = x.shape
        tokens = self.layer(x.flatten(2).transpose(1, 2) + self.place[:, self.order])
        tokens = tokens + self.attention(tokens, tokens, tokens, need_weights=False)[0]
        tokens = self.scale * nn.functional.gelu(self.linear(tokens))
        return self.head(tokens.transpose(1, 2).reshape(n, c, h, w))


def mixed(*, classes: int, height: int, width: int) -> nn.Module:  # noqa: ARG001
    return Mixed(classes)


@pytest.fixture
def network() -> TorchNetwork:
    backend = TorchBackend(Runtime(threads=1))
    found = backend.build(mixed, classes=2, height=SIDE, width=SIDE)
    found.set_weights(starting_values(found, 3))
    return found


def test_names_shapes_and_dtypes_are_those_of_the_state_dict(network: TorchNetwork) -> None:
    state = Mixed(2).state_dict()
    specs = {spec.name: spec for spec in network.weight_specs()}
    assert set(specs) == set(state)
    assert all(spec.native for spec in specs.values())
    assert {name: spec.shape for name, spec in specs.items()} == {
        name: tuple(value.shape) for name, value in state.items()
    }
    assert specs["order"].dtype == "int64"
    assert [name for name, spec in specs.items() if not spec.trainable] == ["order"]


def test_weights_come_back_from_a_file_to_the_bit(network: TorchNetwork, tmp_path: Path) -> None:
    kept, logits = network.weights(), network.predict(IMAGES)
    (tmp_path / "w.safetensors").write_bytes(to_bytes(kept))
    network.set_weights(starting_values(network, 4))
    assert not np.array_equal(network.predict(IMAGES), logits)
    network.set_weights(read_weights(tmp_path / "w.safetensors", network.weight_specs()))
    assert np.array_equal(network.predict(IMAGES), logits)
    assert digest(network.weights()) == digest(kept)


def test_the_start_is_the_constructors_and_follows_from_the_seed(network: TorchNetwork) -> None:
    before = torch.get_rng_state()
    first, again, other = (starting_values(network, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), before)
    assert digest(first) == digest(again) != digest(other)
    assert first["scale"] == 1
    assert np.array_equal(first["layer.weight"], np.ones(WIDTH, np.float32))


def test_training_resumes_to_the_bit(network: TorchNetwork) -> None:
    options = TrainingOptions(loss="dice_ce", seed=0, batch_size=4)
    rows = np.arange(4)

    def train(steps: int, weights: dict, state: dict | None) -> tuple[dict, dict]:
        network.set_weights(weights)
        trainer = network.trainer(options)
        trainer.set_data(IMAGES, MASKS)
        if state:
            trainer.set_state(state)
        for _ in range(steps):
            trainer.step(rows, 1e-2)
        return network.weights(), trainer.state()

    start = starting_values(network, 3)
    whole, _ = train(4, start, None)
    resumed, _ = train(2, *train(2, start, None))
    assert digest(whole) == digest(resumed) != digest(start)


@pytest.mark.parametrize("plan", [p for p in PLANS["torch"] if "cpu" in p.devices])
def test_every_plan_of_a_cpu_runs(network: TorchNetwork, plan) -> None:
    expected = network.predict(IMAGES)
    try:
        query = network.prepare(IMAGES, plan=plan.key, quantity="forward")
    except Unsupported as error:
        pytest.skip(str(error))
    found = query.logits(query.launch())
    # Eight bits, of a network that was never trained, tell no more than that it runs.
    limit = {"float32": 1e-4, "int8": 0.5}.get(plan.precision, 0.1)
    assert np.abs(found - expected).max() <= limit * np.abs(expected).max()


def test_products_attention_and_elementwise_operations_are_counted(network: TorchNetwork) -> None:
    counted, why = cost.of(network)
    assert why == ""
    tokens = 64
    products = tokens * WIDTH * (3 * WIDTH + WIDTH + WIDTH) + 2 * tokens * tokens * WIDTH
    convolutions = tokens * WIDTH * 64 + tokens * WIDTH * 2 * 64
    assert counted.macs == products + convolutions
    assert counted.trainable_parameters == sum(p.numel() for p in Mixed(2).parameters())


class Sorted(nn.Conv2d):
    """Computes what has no rule, twice."""

    def forward(self, input: Tensor) -> Tensor:
        return super().forward(input.sort(-1).values.sort(-2).values)


def test_what_is_unknown_is_named_once_and_parameters_are_counted() -> None:
    backend = TorchBackend(Runtime(threads=1))

    def build(*, classes: int, height: int, width: int) -> nn.Module:  # noqa: ARG001
        return Sorted(1, classes, 1)

    counted, why = cost.of(backend.build(build, classes=2, height=SIDE, width=SIDE))
    assert counted.trainable_parameters == 4
    assert counted.flops is None
    assert why.count("aten.sort") == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_a_reduced_dtype_is_named(dtype: torch.dtype) -> None:
    backend = TorchBackend(Runtime(threads=1))

    def build(*, classes: int, height: int, width: int) -> nn.Module:  # noqa: ARG001
        return nn.Conv2d(1, classes, 1).to(dtype)

    with pytest.raises(BackendError, match=f"'weight' is {str(dtype)[6:]}: build .* in float32"):
        backend.build(build, classes=2, height=SIDE, width=SIDE)
