"""The networks in Flax NNX: counted, run, and named as PyTorch names them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from math import prod
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from backends.contract import Operation, Runtime, TrainingOptions
from backends.errors import SizeError, Unsupported, WeightsError
from backends.flax_backend import FlaxBackend
from backends.flax_layers import Conv
from backends.flax_network import FlaxNetwork
from backends.flax_operations import relu
from backends.weights import initial_values
from harness import registry
from harness.measuring.cost import multiply_adds

NAMES = tuple(name for name, entry in registry.networks().items() if entry.implements("flax"))
ROOT = Path(__file__).parents[2]

# Prints the weights of each network in PyTorch, in a process of its own.
TORCH_SPECS = """
import json, sys
from backends.contract import Runtime
from backends.torch_backend import TorchBackend
from harness import registry
backend = TorchBackend(Runtime(threads=1))
found = {}
for name in sys.argv[1:]:
    builder = registry.load_builder(registry.network(name), "torch")
    specs = backend.build(builder, classes=2, height=64, width=64).weight_specs()
    found[name] = [[spec.name, list(spec.shape), spec.trainable] for spec in specs]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def backend() -> FlaxBackend:
    return FlaxBackend(Runtime())


def _build(backend: FlaxBackend, name: str, side: int = 64) -> FlaxNetwork:
    builder = registry.load_builder(registry.network(name), "flax")
    return backend.build(builder, classes=2, height=side, width=side)


def _trained_like(network: FlaxNetwork) -> dict[str, np.ndarray]:
    """Weights as after training: biases not zero, statistics away from 0 and 1."""
    random = np.random.default_rng(0)
    weights = initial_values(network.weight_specs(), 0)
    for name, value in weights.items():
        noise = random.standard_normal(value.shape).astype(np.float32)
        match name.rpartition(".")[2]:
            case "gamma" | "variance":
                weights[name] = np.exp(0.2 * noise)
            case "bias" | "beta" | "mean" | "alpha":
                weights[name] = 0.1 * noise
    return weights


@pytest.fixture(scope="module")
def rfbsnet(backend: FlaxBackend) -> FlaxNetwork:
    network = _build(backend, "rfbsnet")
    network.set_weights(initial_values(network.weight_specs(), 0))
    return network


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(1).standard_normal((9, 64, 64, 1)).astype(np.float32)


def _convolutions(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation
        for value in equation.params.values():
            if isinstance(value, ClosedJaxpr):
                yield from _convolutions(value.jaxpr)


def _flops_by_xla(equation: Any) -> float:
    """What XLA's cost analysis says of one traced convolution (it leaves out padding taps)."""
    operands = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
    lowered = jax.jit(lambda *values: equation.primitive.bind(*values, **equation.params)).lower(
        *operands
    )
    analysis: Any = lowered.cost_analysis()
    return analysis["flops"]


def _flops_without_padding(operation: Operation) -> int:
    """2 per multiply-add whose tap falls on the image: what XLA counts."""
    taps = 1
    for axis in (0, 1):
        inputs, outputs = operation.input_size[axis], operation.output_size[axis]
        stride, kernel = operation.stride[axis], operation.kernel[axis]
        positions = np.arange(kernel) * operation.dilation[axis]
        if operation.kind == "conv_transpose":
            reached = np.arange(inputs)[:, None] * stride + positions - (kernel - stride) // 2
            taps *= int(((reached >= 0) & (reached < outputs)).sum())
        else:
            total = max(0, (outputs - 1) * stride + int(positions[-1]) + 1 - inputs)
            reached = np.arange(outputs)[:, None] * stride + positions - total // 2
            taps *= int(((reached >= 0) & (reached < inputs)).sum())
    channels = operation.input_size[2] // operation.groups * operation.output_size[2]
    return 2 * taps * channels


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_convolutions_are_those_of_the_paper(
    backend: FlaxBackend, name: str
) -> None:
    network = _build(backend, name, 256)
    if published := registry.network(name).card.published:
        trainable = sum(prod(spec.shape) for spec in network.weight_specs() if spec.trainable)
        assert trainable == published.trainable_parameters
    operations = network.operations()
    assert operations[-1].output_size == (256, 256, 2)
    # A second count, by XLA, of the convolutions of the traced network.
    image = jax.ShapeDtypeStruct((1, 256, 256, 1), jnp.float32)
    traced = jax.make_jaxpr(network.forward)(network.parameters, network.statistics, image)
    known: dict[str, float] = {}
    by_xla = 0.0
    for equation in _convolutions(traced.jaxpr):
        shapes = [variable.aval.shape for variable in equation.invars]
        key = f"{shapes} {equation.params}"
        if key not in known:
            known[key] = _flops_by_xla(equation)
        by_xla += known[key]
    counted = [operation for operation in operations if multiply_adds(operation)]
    assert by_xla == sum(map(_flops_without_padding, counted))


class _Foreign(nnx.Module):
    """`_Own` with one thing more, which no layer of ours reports."""

    def __init__(self, extra: Callable[[_Foreign, jax.Array], jax.Array]) -> None:
        self.body, self.middle, self.head = Conv(1, 4, 3), Conv(4, 4, 3), Conv(4, 2, 1)
        self.foreign = nnx.Conv(4, 4, (3, 3), rngs=nnx.Rngs(0))
        self.linear = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.extra = extra

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.extra(self, self.body(x)))


def _twice_in_jit(network: _Foreign, x: jax.Array) -> jax.Array:
    run = jax.jit(network.middle.__call__)
    return run(run(x))


@pytest.mark.parametrize(
    ("extra", "primitive"),
    [
        (lambda network, x: network.foreign(x), "conv_general_dilated"),
        (lambda network, x: network.linear(x), "dot_general"),
        (lambda _, x: jax.nn.gelu(x, approximate=False), "erfc|mul|erf|neg"),
        (lambda _, x: jax.nn.relu(x), "max"),
        (lambda _, x: x + x, "add"),
        (lambda _, x: jax.lax.fori_loop(0, 3, lambda _, x: relu(x), x), "scan|while"),
        (_twice_in_jit, "conv_general_dilated"),
    ],
)
def test_what_no_layer_reports_is_unsupported(
    backend: FlaxBackend, extra: Callable[[_Foreign, jax.Array], jax.Array], primitive: str
) -> None:
    network = backend.build(lambda **_: _Foreign(extra), classes=2, height=64, width=64)
    with pytest.raises(Unsupported, match=f"'({primitive})'"):
        network.operations()


def test_moving_values_is_free_of_operations(backend: FlaxBackend) -> None:
    def moved(_: _Foreign, x: jax.Array) -> jax.Array:
        return jnp.pad(jnp.split(x, 2, axis=3)[1].mT, ((0, 0), (0, 0), (0, 0), (0, 2)))[..., :4]

    network = backend.build(lambda **_: _Foreign(moved), classes=2, height=64, width=64)
    assert [operation.name for operation in network.operations()] == ["body", "head"]


def test_weights_have_the_names_that_pytorch_gives_them(backend: FlaxBackend) -> None:
    names = [name for name in NAMES if registry.network(name).implements("torch")]
    done = subprocess.run(
        [sys.executable, "-c", TORCH_SPECS, *names],
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    if "No module named 'torch'" in done.stderr:
        pytest.skip("PyTorch is not installed, so there are no names to compare with")
    assert done.returncode == 0, done.stderr
    for name, expected in json.loads(done.stdout).items():
        specs = _build(backend, name).weight_specs()
        assert [[s.name, list(s.shape), s.trainable] for s in specs] == expected, name


@pytest.mark.parametrize("name", NAMES)
def test_logits_are_finite_and_hang_on_their_own_image(
    backend: FlaxBackend, name: str, images: np.ndarray
) -> None:
    network = _build(backend, name)
    network.set_weights(_trained_like(network))
    logits = network.predict(images[:8])
    assert logits.shape == (8, 64, 64, 2)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert not np.array_equal(logits[0], logits[1])
    # By the executable that is compiled already: another would take as long again.
    among_others = network.predict(np.concatenate([images[:1], -images[1:8]]))
    np.testing.assert_allclose(among_others[0], logits[0], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_as_they_went_in(backend: FlaxBackend, name: str) -> None:
    network = _build(backend, name)
    given = _trained_like(network)
    network.set_weights(given)
    back = network.weights()
    assert list(back) == [spec.name for spec in network.weight_specs()]
    assert all(np.array_equal(back[key], given[key]) for key in given)
    reported = {operation.name for operation in network.operations()}
    assert {key.rpartition(".")[0] for key in given} <= reported


def _reached(jaxpr: Jaxpr, known: Sequence[bool]) -> list[bool]:
    """Which outputs hang on an input that is `known`, through everything that is computed."""
    reached = {var for var, flag in zip(jaxpr.invars, known, strict=True) if flag}
    for equation in jaxpr.eqns:
        flags = [not isinstance(atom, Literal) and atom in reached for atom in equation.invars]
        inner = equation.params.get("jaxpr")
        if equation.primitive.name in ("jit", "pjit") and isinstance(inner, ClosedJaxpr):
            outputs = _reached(inner.jaxpr, flags)
        else:
            outputs = [any(flags)] * len(equation.outvars)
        reached |= {var for var, flag in zip(equation.outvars, outputs, strict=True) if flag}
    return [not isinstance(atom, Literal) and atom in reached for atom in jaxpr.outvars]


def _without_gradient(network: FlaxNetwork, images: np.ndarray) -> list[str]:
    """Weights whose gradient is the same whatever the masks: they do not reach the loss."""

    def gradients(masks: jax.Array) -> dict[str, jax.Array]:
        values = (network.parameters, network.statistics, jnp.asarray(images[:2]), masks)
        return network.value_and_gradients(*values, loss="dice_ce", key=None)[1]

    traced, shapes = jax.make_jaxpr(gradients, return_shape=True)(images[:2, ..., 0])
    reached = _reached(traced.jaxpr, [True])
    return [name for name, flag in zip(shapes, reached, strict=True) if not flag]


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_reaches_the_loss(backend: FlaxBackend, name: str, images: np.ndarray) -> None:
    """On the traced gradients: to compile them takes half a minute a network (the next test)."""
    assert _without_gradient(_build(backend, name), images) == []


def test_a_weight_that_reaches_no_loss_is_found(backend: FlaxBackend, images: np.ndarray) -> None:
    def useless(network: _Foreign, x: jax.Array) -> jax.Array:
        network.middle(x)
        return network.linear(network.foreign(x))

    network = backend.build(lambda **_: _Foreign(useless), classes=2, height=64, width=64)
    assert _without_gradient(network, images) == ["middle.bias", "middle.kernel"]


@pytest.mark.slow  # XLA compiles each network three times
@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_not_zero_and_one_image_equals_many(
    backend: FlaxBackend, name: str, images: np.ndarray
) -> None:
    network = _build(backend, name)
    network.set_weights(_trained_like(network))
    before = network.weights()
    found = network.gradients(images[:2], (images[:2, ..., 0] > 0).astype(np.uint8), "dice_ce")
    assert list(found) == [spec.name for spec in network.weight_specs() if spec.trainable]
    assert [key for key, value in found.items() if not value.any()] == []
    after = network.weights()
    assert all(np.array_equal(before[key], after[key]) for key in before)
    together = network.predict(images[:8])
    alone = np.concatenate([network.predict(image[None]) for image in images[:8]])
    np.testing.assert_allclose(alone, together, atol=1e-5 * np.abs(together).max())


def test_a_padded_batch_gives_what_single_images_give(
    rfbsnet: FlaxNetwork, images: np.ndarray
) -> None:
    together = rfbsnet.predict(images)
    alone = np.concatenate([rfbsnet.predict(image[None]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_activations_are_named_outputs_in_order(rfbsnet: FlaxNetwork, images: np.ndarray) -> None:
    activations = rfbsnet.activations(images[:2])
    assert next(iter(activations)) == "stem"
    assert list(activations)[-1] == "head"
    np.testing.assert_allclose(activations["head"], rfbsnet.predict(images[:2]), atol=1e-6)
    assert activations["deep.bottleneck.conv1"].shape == (2, 4, 4, 256)


@pytest.mark.parametrize("plan", ["aot", "aot-shifted-depthwise", "aot-bfloat16"])
def test_a_prepared_query_compiles_nothing_and_agrees_with_predict(
    rfbsnet: FlaxNetwork, images: np.ndarray, plan: str
) -> None:
    forward = rfbsnet.prepare(images[:2], plan=plan, quantity="forward")
    end_to_end = rfbsnet.prepare(images[:2], plan=plan, quantity="end_to_end")
    compiled = forward.compilations()
    result = forward.launch()
    forward.synchronise(result)
    masks = end_to_end.launch()
    forward.set_images(images[2:4])
    other = forward.launch()
    forward.synchronise(other)
    logits = forward.logits(result)
    assert forward.compilations() == compiled
    assert masks.dtype == np.uint8
    assert np.array_equal(masks, logits.argmax(-1))
    tolerance = 0.05 * float(np.ptp(logits)) if plan == "aot-bfloat16" else 1e-6
    np.testing.assert_allclose(logits, rfbsnet.predict(images[:2]), atol=tolerance)
    np.testing.assert_allclose(forward.logits(other), rfbsnet.predict(images[2:4]), atol=tolerance)


def test_compilations_are_seen(rfbsnet: FlaxNetwork, images: np.ndarray) -> None:
    query = rfbsnet.prepare(images[:1], plan="aot", quantity="forward")
    before = query.compilations()
    jax.jit(lambda x: x * 3.25 - 1)(images)
    assert query.compilations() == before + 1


def test_mistakes_are_named(backend: FlaxBackend, rfbsnet: FlaxNetwork, images: np.ndarray) -> None:
    with pytest.raises(SizeError, match="height 100 is not a multiple of 64"):
        backend.build(lambda **_: None, classes=2, height=100, width=64)
    with pytest.raises(SizeError, match="expected \\(n, 64, 64, 1\\)"):
        rfbsnet.predict(images[:, :32])
    with pytest.raises(Unsupported, match="no plan 'aot-tf32' on cpu"):
        rfbsnet.prepare(images, plan="aot-tf32", quantity="forward")
    with pytest.raises(SizeError, match="prepared for 1"):
        rfbsnet.prepare(images[:1], plan="aot", quantity="forward").set_images(images[:2])
    weights = rfbsnet.weights()
    with pytest.raises(WeightsError, match=r"'stem\.kernel' is missing"):
        rfbsnet.set_weights({k: v for k, v in weights.items() if k != "stem.kernel"})


def test_weights_given_are_copied(rfbsnet: FlaxNetwork, images: np.ndarray) -> None:
    """Training donates its buffers to XLA, which would write into the caller's arrays."""
    weights = rfbsnet.weights()
    before = {name: value.copy() for name, value in weights.items()}
    rfbsnet.set_weights(weights)
    trainer = rfbsnet.trainer(TrainingOptions(loss="dice", seed=0, batch_size=2))
    trainer.set_data(images, (images[..., 0] > 0).astype(np.uint8))
    trainer.step(np.array([0, 1]), 1e-2)
    trainer.losses()
    assert all(np.array_equal(weights[name], value) for name, value in before.items())
    assert not np.array_equal(rfbsnet.weights()["head.kernel"], before["head.kernel"])
    rfbsnet.set_weights(before)


def test_matrix_probe_is_float32(backend: FlaxBackend) -> None:
    left, right = np.full((64, 64), 1.0001, np.float32), np.ones((64, 64), np.float32)
    assert backend.multiply(left, right, plan="aot").mean() == pytest.approx(64.0064, abs=1e-4)
    twice = backend.multiply(left, right, plan="aot", repeats=2)
    assert twice.mean() == pytest.approx(64 * 64.0064, rel=1e-5)
    coarse = backend.multiply(left, right, plan="aot-bfloat16")
    assert coarse.mean() == 64


def test_unknown_memory_has_a_reason(backend: FlaxBackend) -> None:
    memory = backend.memory()
    assert set(memory) == {"allocated_peak_bytes", "reserved_peak_bytes"}
    assert all(item.bytes is None and item.reason for item in memory.values())
