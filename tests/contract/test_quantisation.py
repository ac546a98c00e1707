"""8-bit integers: the file that all runtimes read, and what the plans answer."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest

if any(
    importlib.util.find_spec(name) is None
    for name in ("torch", "onnx", "onnxscript", "onnxruntime", "openvino")
):
    pytest.skip("torch or a deployment runtime is not installed", allow_module_level=True)

import onnx

from backends.contract import Array, Runtime
from backends.errors import SizeError, Unsupported
from backends.onnx_export import onnx_bytes
from backends.quantisation import quantised
from backends.torch_backend import TorchBackend
from backends.torch_network import TorchNetwork
from backends.weights import initial_values
from harness import registry

SIDE = 64
PLANS = ("onnxruntime-int8", "openvino-int8")
KINDS = {"QuantizeLinear", "DequantizeLinear"}


@pytest.fixture(scope="module")
def backend() -> TorchBackend:
    return TorchBackend(Runtime(threads=1))


@pytest.fixture(scope="module")
def images() -> Array:
    return np.random.default_rng(0).standard_normal((6, SIDE, SIDE, 1)).astype(np.float32)


@pytest.fixture
def network(backend: TorchBackend) -> TorchNetwork:
    found = registry.build(backend, "rfbsnet", height=SIDE, width=SIDE, classes=2)
    assert isinstance(found, TorchNetwork)
    found.set_weights(initial_values(found.weight_specs(), seed=0))
    return found


def channels_first(images: Array) -> Array:
    return np.ascontiguousarray(images.transpose(0, 3, 1, 2))


def test_weights_have_a_scale_for_each_channel_and_all_zeros_are_zero(
    network: TorchNetwork, images: Array
) -> None:
    plain = onnx_bytes(network.module.net, SIDE, SIDE)
    made = quantised(plain, channels_first(images), symmetric=True)
    graph = onnx.load_from_string(made).graph
    constants = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    pairs = [node for node in graph.node if node.op_type in KINDS]
    assert {node.op_type for node in pairs} == KINDS
    zeros = [constants[node.input[2]] for node in pairs if len(node.input) > 2]
    # Biases, which are 32-bit, are kept without rounding of their own.
    assert {zero.dtype.name for zero in zeros} <= {"int8", "int32"}
    assert not any(zero.any() for zero in zeros)
    kernels = [value for value in constants.values() if value.dtype == np.int8 and value.ndim == 4]
    scales = [constants[node.input[1]].size for node in pairs if node.input[0] in constants]
    assert max(scales) >= max(len(kernel) for kernel in kernels) > 1
    # A quarter of the size, but for what describes it.
    assert sum(kernel.nbytes for kernel in kernels) > 0.9 * sum(
        value.size for name, value in network.weights().items() if name.endswith("kernel")
    )


def test_on_a_cpu_weights_have_seven_bits(network: TorchNetwork, images: Array) -> None:
    plain = onnx_bytes(network.module.net, SIDE, SIDE)
    made = quantised(plain, channels_first(images))
    constants = [
        onnx.numpy_helper.to_array(one) for one in onnx.load_from_string(made).graph.initializer
    ]
    kernels = [value for value in constants if value.dtype == np.int8 and value.ndim == 4]
    assert kernels
    assert max(int(np.abs(kernel.astype(int)).max()) for kernel in kernels) == 64
    # The same images, the same bytes: a calibration draws nothing.
    assert made == quantised(plain, channels_first(images))


@pytest.mark.parametrize("plan", PLANS)
def test_the_plans_answer_nearly_as_the_network_does(
    network: TorchNetwork, images: Array, plan: str
) -> None:
    network.calibrate(images)
    query = network.prepare(images[:2], plan=plan, quantity="forward")
    masks = network.prepare(images[:2], plan=plan, quantity="end_to_end")
    for batch in (images[:2], images[2:4]):
        query.set_images(batch)
        masks.set_images(batch)
        expected = network.predict(batch)
        logits = query.logits(query.launch())
        difference = np.abs(logits - expected).mean() / np.abs(expected).mean()
        assert 1e-4 < difference < 0.3
        assert (masks.launch() == expected.argmax(-1)).mean() > 0.9


def test_ranges_come_from_the_calibration_images(network: TorchNetwork, images: Array) -> None:
    answers = []
    for calibration in (images, images / 100):
        network.calibrate(calibration)
        query = network.prepare(images[:1], plan=PLANS[0], quantity="forward")
        answers.append(query.logits(query.launch()))
    # Ranges of dim images cut off what bright ones hold.
    assert np.abs(answers[1]).max() < np.abs(answers[0]).max()
    with pytest.raises(SizeError):
        network.calibrate(images[:, :32])


def test_products_of_integers_are_not_probed(backend: TorchBackend) -> None:
    with pytest.raises(Unsupported, match="8-bit integers"):
        backend.product_seconds(64, plan=PLANS[0], products=1)
