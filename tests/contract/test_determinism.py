"""No training graph holds an operation that has no deterministic kernel on a GPU.

Proven without one: the whole step, forward and backward, is traced in each framework.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from backends.contract import TrainingOptions
from harness import registry
from tests.contract.hooks import SIDE, load

# What raises under `torch.use_deterministic_algorithms` on CUDA, by the documentation of PyTorch
# 2.13, as its operators are called.
TORCH = {
    *("_adaptive_avg_pool2d_backward", "_adaptive_avg_pool3d_backward", "avg_pool3d_backward"),
    *("adaptive_max_pool2d_backward", "fractional_max_pool2d_backward"),
    *("fractional_max_pool3d_backward", "max_unpool2d", "max_unpool3d"),
    *("upsample_linear1d_backward", "upsample_bilinear2d_backward", "upsample_bicubic2d_backward"),
    *("_upsample_bilinear2d_aa_backward", "_upsample_bicubic2d_aa_backward"),
    *("upsample_trilinear3d_backward", "reflection_pad1d_backward", "reflection_pad2d_backward"),
    *("reflection_pad3d_backward", "nll_loss_forward", "nll_loss2d_forward", "_ctc_loss_backward"),
    *("_embedding_bag_dense_backward", "put_", "histc", "bincount", "median", "nanmedian"),
    *("grid_sampler_2d_backward", "grid_sampler_3d_backward", "cumsum", "scatter_reduce"),
}
# What raises UnimplementedError under TensorFlow's op determinism on a GPU, or runs on the CPU.
TENSORFLOW = {
    *("ResizeNearestNeighborGrad", "AdjustContrastv2", "SparseTensorDenseMatMul"),
    *("CropAndResizeGradImage", "CropAndResizeGradBoxes", "FractionalAvgPoolGrad"),
    *("FractionalMaxPoolGrad", "Dilation2DBackpropFilter", "Dilation2DBackpropInput"),
    *("FakeQuantWithMinMaxVarsGradient", "FakeQuantWithMinMaxVarsPerChannelGradient"),
    *("QuantizeAndDequantizeV4Grad", "Bincount", "DenseBincount", "SparseSegmentSumGrad"),
    *("SparseSegmentMeanGrad", "SparseSegmentSqrtNGrad", "MaxPoolGradWithArgmax", "ScatterNd"),
    *("TensorScatterUpdate", "TensorScatterAdd", "ResourceScatterAdd", "ResourceScatterNdAdd"),
}
# XLA adds these by atomic operations, or under its deterministic-ops flag one after the other.
JAX = {
    *("scatter", "scatter-add", "scatter_add", "scatter-mul", "scatter_mul", "scatter-min"),
    *("scatter_min", "scatter-max", "scatter_max", "select_and_scatter_add", "select_and_scatter"),
}


# Their graphs take 5 to 20 s each to build in Keras and Flax.
LARGE = ("dfanet", "icnet", "shuffleseg_v2", "unet")


def _names(backend: str) -> list[str]:
    return [name for name, entry in registry.networks().items() if entry.implements(backend)]


def _networks(backend: str) -> list[Any]:
    large = () if backend == "torch" else LARGE
    return [
        pytest.param(name, marks=pytest.mark.slow) if name in large else name
        for name in _names(backend)
    ]


def _torch_operators(name: str, loss: str) -> set[str]:
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from backends.torch_training import loss_of

    class Log(TorchDispatchMode):
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None):
            seen.add(func.overloadpacket.__name__)
            return func(*args, **(kwargs or {}))

    seen: set[str] = set()
    build = registry.load_builder(registry.network(name), "torch")
    # Without values; the layers take the branches of a GPU (`_as_on_a_gpu`).
    with torch.device("meta"), Log():
        net = build(classes=2, height=SIDE, width=SIDE).train()
        images = torch.empty(2, 1, SIDE, SIDE)
        masks = torch.empty(2, SIDE, SIDE, dtype=torch.uint8)
        loss_of(net(images), masks, loss).backward()
    return seen


@pytest.fixture
def _as_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    load("torch")
    import torch

    from backends import torch_layers

    monkeypatch.setattr(torch_layers, "_trains_on_gpu", lambda _: torch.is_grad_enabled())


@pytest.mark.usefixtures("_as_on_a_gpu")
@pytest.mark.parametrize("name", _networks("torch"))
def test_pytorch_trains_by_deterministic_operators_alone(name: str) -> None:
    seen = _torch_operators(name, "dice_ce")
    assert "convolution_backward" in seen
    assert not seen & TORCH


def _tensorflow_nodes(name: str) -> Iterator[Any]:
    hooks = load("keras")
    network = hooks.network(name)
    trainer: Any = network.trainer(TrainingOptions(loss="dice_ce", seed=0, batch_size=2))
    graph = trainer._function.get_concrete_function().graph.as_graph_def()
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


@pytest.mark.parametrize("name", _networks("keras"))
def test_tensorflow_trains_by_deterministic_kernels_alone(name: str) -> None:
    nodes = list(_tensorflow_nodes(name))
    seen = {node.op for node in nodes}
    assert {"Conv2DBackpropFilter", "ResourceApplyAdam"} <= seen
    assert not seen & TENSORFLOW
    for node in nodes:
        # A gradient in inference mode has no deterministic kernel.
        if node.op == "FusedBatchNormGradV3":
            assert node.attr["is_training"].b


def test_depthwise_filters_are_those_that_cudnn_is_deterministic_for() -> None:
    """Without cuDNN, TensorFlow has no deterministic gradient of a depthwise filter."""
    for name in _names("keras"):
        for operation in load("keras").network(name).operations():
            if operation.kind == "conv" and operation.groups == operation.input_size[2] > 1:
                rows, columns = operation.kernel
                assert rows == columns
                assert rows in (1, 3, 5, 7)
                assert operation.output_size[2] == operation.input_size[2]


def _primitives(jaxpr: Any) -> Iterator[str]:
    from jax.extend.core import ClosedJaxpr, Jaxpr

    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            for part in value if isinstance(value, tuple | list) else (value,):
                if isinstance(part, ClosedJaxpr):
                    yield from _primitives(part.jaxpr)
                elif isinstance(part, Jaxpr):
                    yield from _primitives(part)


@pytest.mark.parametrize("name", _networks("flax"))
def test_jax_trains_without_scattering(name: str) -> None:
    hooks = load("flax")
    import jax

    from backends.flax_training import value_and_gradients

    network: Any = hooks.network(name)
    program = network.program
    images: Any = np.zeros((2, program.height, program.width, 1), np.float32)
    masks: Any = np.zeros(images.shape[:3], np.uint8)

    def step(parameters: Any, statistics: Any) -> Any:
        key = jax.random.key(0, impl="rbg")
        return value_and_gradients(program, parameters, statistics, images, masks, "dice_ce", key)

    traced = jax.make_jaxpr(step)(program.parameters, program.statistics)
    seen = set(_primitives(traced.jaxpr))
    assert "conv_general_dilated" in seen
    assert not seen & JAX


def _graph_of(function: Any) -> set[str]:
    import tensorflow as tf

    graph = tf.function(function).get_concrete_function(tf.TensorSpec((1, 4, 4, 2))).graph
    return {node.op for node in graph.as_graph_def().node}


def test_the_walks_find_what_they_look_for() -> None:
    load("keras")
    load("flax")
    import jax
    import tensorflow as tf

    def resized(x: Any) -> Any:
        return tf.gradients(tf.image.resize(x, (8, 8), method="nearest"), x)[0]

    assert _graph_of(resized) & TENSORFLOW
    traced = jax.make_jaxpr(jax.grad(lambda x: x[np.array([0, 0, 1])].sum()))(np.zeros(3))
    assert set(_primitives(traced.jaxpr)) & JAX


@pytest.mark.parametrize("sides", [((2, 3), (8, 6)), ((3, 3), (10, 4))])
def test_keras_copies_in_training_what_it_resizes_in_inference(
    sides: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    load("keras")
    from backends.keras_layer_classes import Resize

    source, target = sides
    images = np.random.default_rng(0).normal(size=(2, *source, 4)).astype(np.float32)
    layer = Resize(target, "nearest", name="resize")
    np.testing.assert_array_equal(layer(images, training=True), layer(images, training=False))


@pytest.mark.parametrize(("size", "stride"), [(2, 2), (3, 2)])
@pytest.mark.parametrize("padding", ["SAME", "VALID"])
def test_flax_pools_with_the_gradient_of_xla(size: int, stride: int, padding: Any) -> None:
    load("flax")
    import jax
    import jax.numpy as jnp
    from flax import nnx

    from backends.flax_operations import max_pool

    # Few values, so that many are tied.
    images = np.random.default_rng(0).integers(0, 3, (2, 9, 8, 3)).astype(np.float32)

    def slope(pool: Any) -> Any:
        return jax.grad(lambda x: (jnp.arange(1.0, 4) * pool(x) ** 2).sum())(images)

    own = slope(lambda x: max_pool(x, size, stride, padding))
    xla = slope(lambda x: nnx.max_pool(x, (size, size), (stride, stride), padding))
    np.testing.assert_array_equal(own, xla)


@pytest.mark.parametrize("target", [(6, 8), (7, 5)])
def test_flax_resizes_to_nearest_exactly(target: tuple[int, int]) -> None:
    load("flax")
    from backends.flax_operations import nearest

    images: Any = np.random.default_rng(0).normal(size=(2, 3, 4, 5)).astype(np.float32)
    rows, columns = (
        np.floor((np.arange(length) + 0.5) * source / length).astype(int)
        for length, source in zip(target, images.shape[1:3], strict=True)
    )
    expected = images[:, rows][:, :, columns]
    np.testing.assert_array_equal(nearest(images, *target), expected)


@pytest.mark.usefixtures("_as_on_a_gpu")
@pytest.mark.parametrize("size", [(16, 24), (3, 5), (8, 6)])
def test_pytorch_resizes_by_products_as_by_its_kernel(size: tuple[int, int]) -> None:
    import torch

    from backends import torch_layers

    images = torch.tensor(np.random.default_rng(0).normal(size=(2, 3, 8, 6)), dtype=torch.float32)
    by_products = images.clone().requires_grad_()
    own = torch_layers.resize_bilinear(by_products, size)
    by_kernel = images.clone().requires_grad_()
    expected = torch.nn.functional.interpolate(by_kernel, size, mode="bilinear")
    torch.testing.assert_close(own, expected)
    for output in (own, expected):
        (output**2).sum().backward()
    torch.testing.assert_close(by_products.grad, by_kernel.grad)


def test_unpooling_by_comparison_is_unpooling_by_index(monkeypatch: pytest.MonkeyPatch) -> None:
    """The form that trains on a GPU, run on the CPU: the same values and gradients, ties too."""
    load("torch")
    import torch

    from backends import torch_layers

    drawn = np.random.default_rng(0).integers(0, 3, (2, 3, 8, 6))
    weights = torch.arange(2 * 3 * 8 * 6, dtype=torch.float32).reshape(2, 3, 8, 6)

    def run() -> tuple[Any, Any]:
        images = torch.tensor(drawn, dtype=torch.float32, requires_grad=True)
        pooled, places = torch_layers.max_pool_places(images)
        output = torch_layers.max_unpool(pooled * 2, places)
        (output * weights).sum().backward()
        return output.detach(), images.grad

    by_index = run()
    monkeypatch.setattr(torch_layers, "_trains_on_gpu", lambda _: True)
    for own, expected in zip(run(), by_index, strict=True):
        assert torch.equal(own, expected)
