"""The networks in Keras on TensorFlow: counted, run and differentiated."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from backends.contract import Network, Runtime
from backends.errors import SizeError, Unsupported, WeightsError
from backends.keras_backend import KerasBackend
from backends.keras_engine import tf
from backends.keras_graph import operations
from backends.keras_layers import conv, image_input
from backends.weights import initial_values
from harness import registry
from harness.measuring.cost import count, multiply_adds

NAMES = tuple(name for name, entry in registry.networks().items() if entry.implements("keras"))
ROOT = Path(__file__).parents[2]
SIDE = 64

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
    found[name] = {spec.name: [list(spec.shape), spec.trainable] for spec in specs}
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def backend() -> KerasBackend:
    return KerasBackend(Runtime(threads=1))


@pytest.fixture(scope="module")
def torch_specs() -> dict[str, dict[str, Any]]:
    names = [name for name in NAMES if registry.network(name).implements("torch")]
    done = subprocess.run(
        [sys.executable, "-c", TORCH_SPECS, *names],
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _build(backend: KerasBackend, name: str, height: int = SIDE, width: int = SIDE) -> Network:
    builder = registry.load_builder(registry.network(name), "keras")
    return backend.build(builder, classes=2, height=height, width=width)


def _trained_like(network: Network, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights as after training: biases not zero, statistics away from 0 and 1."""
    random = np.random.default_rng(seed)
    weights = initial_values(network.weight_specs(), seed)
    for name, value in weights.items():
        noise = random.uniform(0.5, 1.5, value.shape).astype(np.float32)
        if name.endswith((".gamma", ".variance")):
            weights[name] = noise
        elif not name.endswith(".kernel"):
            weights[name] = 0.2 * noise - 0.2
    return weights


def _images(count: int, height: int = SIDE, width: int = SIDE) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, height, width, 1)).astype(np.float32)


@pytest.mark.parametrize("name", NAMES)
def test_parameters_and_operations_are_those_of_the_paper(backend: KerasBackend, name: str) -> None:
    network = _build(backend, name, 256, 256)
    specs, run = network.weight_specs(), network.operations()
    assert run[-1].output_size == (256, 256, 2)
    published = registry.network(name).card.published
    if published is None:
        return
    trainable = sum(prod(spec.shape) for spec in specs if spec.trainable)
    assert trainable == published.trainable_parameters
    digits = len(published.gflops.replace(".", "").lstrip("0"))
    gflops = count(run, specs).paper_convention_gflops
    assert float(f"{gflops:.{digits}g}") == float(published.gflops)


@pytest.mark.usefixtures("backend")
@pytest.mark.parametrize("name", NAMES)
def test_tensorflow_counts_the_same_convolutions(name: str) -> None:
    # At 256: TensorFlow cuts a map into pieces for a dilated convolution, and where the dilation
    # does not divide the map it counts their padding too.
    model = registry.load_builder(registry.network(name), "keras")()
    traced = tf.function(lambda image: model(image, training=False), autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec((1, 256, 256, 1))).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(
        profiler.ProfileOptionBuilder.float_operation()
    ).with_empty_output()
    total = 0
    for node in profiler.profile(graph, cmd="op", options=options.build()).children:
        stack = [node]
        while stack:
            one = stack.pop()
            stack.extend(one.children)
            if "Conv" in one.name:
                total += one.float_ops
    assert total == 2 * sum(map(multiply_adds, operations(model)))


@pytest.mark.parametrize("name", NAMES)
def test_weights_are_those_of_pytorch(
    backend: KerasBackend, torch_specs: dict[str, dict[str, Any]], name: str
) -> None:
    if name not in torch_specs:
        pytest.skip(f"{name} is not implemented in PyTorch")
    specs = _build(backend, name).weight_specs()
    assert {s.name: [list(s.shape), s.trainable] for s in specs} == torch_specs[name]


@pytest.mark.parametrize("name", NAMES)
def test_every_size_gives_finite_logits(backend: KerasBackend, name: str) -> None:
    network = _build(backend, name, 64, 128)
    network.set_weights(_trained_like(network))
    images = _images(9, 64, 128)  # more than one batch
    together = network.predict(images)
    assert together.shape == (9, 64, 128, 2)
    assert together.dtype == np.float32
    assert np.isfinite(together).all()
    np.testing.assert_allclose(network.predict(images[4:5]), together[4:5], atol=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_gets_a_gradient(backend: KerasBackend, name: str) -> None:
    network = _build(backend, name)
    network.set_weights(_trained_like(network))
    before = network.weights()
    found = network.gradients(_images(2), (_images(2)[..., 0] > 0).astype(np.uint8), "dice_ce")
    assert set(found) == {spec.name for spec in network.weight_specs() if spec.trainable}
    assert [key for key, value in found.items() if not value.any()] == []
    after = network.weights()
    assert all(np.array_equal(before[key], after[key]) for key in before)


@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_as_they_went_in(backend: KerasBackend, name: str) -> None:
    network = _build(backend, name)
    given = _trained_like(network)
    network.set_weights(given)
    back = network.weights()
    assert list(back) == [spec.name for spec in network.weight_specs()]
    assert all(np.array_equal(back[key], given[key]) for key in given)
    assert set(network.activations(_images(1))) == {key.rpartition(".")[0] for key in given}


@pytest.mark.parametrize("plan", ["predict", "tf-function", "xla", "tf-function-bfloat16"])
def test_plans_answer_as_the_evaluation_does(backend: KerasBackend, plan: str) -> None:
    network = _build(backend, "rfbsnet")
    network.set_weights(_trained_like(network))
    first, second = _images(2), -_images(2)
    inference = network.prepare(first, plan=plan, quantity="forward")
    inference.synchronise(inference.launch())
    compilations = inference.compilations()
    assert compilations >= 1
    near = 0.1 if plan == "tf-function-bfloat16" else 1e-4
    for images in (first, second):
        inference.set_images(images)
        result = inference.launch()
        inference.synchronise(result)
        np.testing.assert_allclose(inference.logits(result), network.predict(images), atol=near)
    assert inference.compilations() == compilations
    whole = network.prepare(second, plan=plan, quantity="end_to_end").launch()
    assert whole.dtype == np.uint8
    assert (whole == network.predict(second).argmax(3)).mean() > 0.99


def test_matrix_products_take_the_precision_of_the_plan(backend: KerasBackend) -> None:
    ones, side = np.ones((64, 64), np.float32), np.full((64, 64), 1.0001, np.float32)
    assert backend.multiply(side, ones, plan="tf-function-bfloat16")[0, 0] == 64.0
    assert backend.multiply(side, ones, plan="xla")[0, 0] == pytest.approx(64.0064, abs=1e-3)
    two = backend.multiply(side, ones, plan="xla", repeats=2)[0, 0]
    assert two == pytest.approx(64 * 64.0064, rel=1e-5)


def test_what_does_not_fit_is_refused(backend: KerasBackend) -> None:
    with pytest.raises(SizeError, match="100 is not a multiple of 64"):
        _build(backend, "rfbsnet", 100, 64)
    network = _build(backend, "rfbsnet")
    with pytest.raises(SizeError, match="3 channels"):
        network.predict(np.zeros((1, SIDE, SIDE, 3), np.float32))
    with pytest.raises(Unsupported, match="choose one of tf-function, predict"):
        network.prepare(_images(1), plan="turbo", quantity="forward")
    weights = network.weights()
    weights["head.kernel"] = np.zeros((3, 3, 32, 2), np.float32)
    with pytest.raises(WeightsError, match=r"head\.kernel.*expected \(1, 1, 32, 2\)"):
        network.set_weights(weights)
    assert backend.memory()["allocated_peak_bytes"].reason


def test_a_layer_without_a_rule_is_unsupported(backend: KerasBackend) -> None:
    def build(*, classes: int, height: int, width: int) -> keras.Model:
        image = image_input(height, width)
        return keras.Model(image, keras.layers.Softmax()(conv(image, "head", classes)))

    builder: Callable[..., Any] = build
    network = backend.build(builder, classes=2, height=SIDE, width=SIDE)
    with pytest.raises(Unsupported, match="Softmax has no rule"):
        network.operations()
