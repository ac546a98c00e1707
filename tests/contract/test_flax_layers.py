"""The layers of the Flax networks against the rules of the specification, spelled out in NumPy."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from backends import flax_operations as operations
from backends.flax_layers import (
    BatchNorm,
    Conv,
    ConvTranspose,
    DepthwiseConv,
    Dropout,
    PReLU,
    seed_dropout,
)


def _values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def _fill(layer: Any, **values: np.ndarray) -> None:
    for name, value in values.items():
        getattr(layer, name).set_value(jnp.asarray(value))


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "groups", "side"),
    [(3, 1, 1, 1, 6), (3, 2, 1, 2, 6), (3, 2, 1, 1, 7), (5, 2, 1, 1, 8), (3, 1, 4, 1, 6)],
)
def test_convolution_pads_after_where_padding_is_odd(
    kernel: int, stride: int, dilation: int, groups: int, side: int
) -> None:
    layer = Conv(4, 6, kernel, stride=stride, dilation=dilation, groups=groups)
    weights, bias = _values(kernel, kernel, 4 // groups, 6), _values(6)
    _fill(layer, kernel=weights, bias=bias)
    x = _values(1, side, side + 2, 4)
    sizes = [-(-length // stride) for length in x.shape[1:3]]
    reach = (kernel - 1) * dilation + 1
    before = [
        max(0, (out - 1) * stride + reach - length) // 2
        for out, length in zip(sizes, x.shape[1:3], strict=True)
    ]
    # Far more zeros behind than any window reaches.
    padded = np.pad(x[0], ((before[0], 20), (before[1], 20), (0, 0)))
    expected = np.zeros((*sizes, 6))
    for row, column, out in np.ndindex(*sizes, 6):
        group = out // (6 // groups) * (4 // groups)
        window = padded[
            row * stride : row * stride + reach : dilation,
            column * stride : column * stride + reach : dilation,
            group : group + 4 // groups,
        ]
        expected[row, column, out] = (window * weights[..., out]).sum() + bias[out]
    np.testing.assert_allclose(layer(jnp.asarray(x))[0], expected, atol=1e-5)


@pytest.mark.parametrize(("kernel", "stride"), [(3, 2), (4, 2), (16, 8), (2, 2)])
def test_transposed_convolution_is_the_gradient_orientation_cropped(
    kernel: int, stride: int
) -> None:
    layer = ConvTranspose(3, 2, kernel, stride=stride)
    weights = _values(kernel, kernel, 3, 2)
    _fill(layer, kernel=weights)
    x = _values(1, 3, 4, 3)
    full = np.zeros((2 * stride + kernel, 3 * stride + kernel, 2))
    for row, column in np.ndindex(3, 4):
        spread = np.einsum("c,ijco->ijo", x[0, row, column], weights)
        full[row * stride : row * stride + kernel, column * stride : column * stride + kernel] += (
            spread
        )
    first = (kernel - stride) // 2
    expected = full[first : first + 3 * stride, first : first + 4 * stride]
    np.testing.assert_allclose(layer(jnp.asarray(x))[0], expected, atol=1e-5)


@pytest.mark.parametrize(("stride", "side"), [(1, 6), (2, 6), (2, 7), (2, 2)])
def test_shifted_depthwise_convolution_equals_the_plain_one(stride: int, side: int) -> None:
    layer = DepthwiseConv(5, 3, stride=stride)
    _fill(layer, kernel=_values(3, 3, 1, 5), bias=_values(5))
    x = jnp.asarray(_values(2, side, side + 3, 5))
    plain = layer(x)
    layer.shifted = True
    np.testing.assert_allclose(layer(x), plain, atol=1e-6)


def test_running_variance_is_the_biased_one() -> None:
    layer = BatchNorm(3, momentum=0.9)
    x = _values(2, 2, 2, 3) + 1
    layer.train()
    y = layer(jnp.asarray(x))
    mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(variance + 1e-3), atol=1e-5)
    np.testing.assert_allclose(layer.mean[...], 0.1 * mean, atol=1e-6)
    np.testing.assert_allclose(layer.variance[...], 0.9 + 0.1 * variance, atol=1e-6)
    layer.eval()
    running = 0.1 * mean, 0.9 + 0.1 * variance
    expected = (x - running[0]) / np.sqrt(running[1] + 1e-3)
    np.testing.assert_allclose(layer(jnp.asarray(x)), expected, atol=1e-5)


def test_prelu_has_one_slope_a_channel() -> None:
    layer = PReLU(2)
    _fill(layer, alpha=np.array([0.5, -1], np.float32))
    x = jnp.asarray([[[[-2.0, -2.0], [3.0, 3.0]]]])
    np.testing.assert_array_equal(layer(x), [[[[-1, 2], [3, 3]]]])


def test_dropout_keeps_the_mean_and_can_drop_whole_channels() -> None:
    class Pair(nnx.Module):
        def __init__(self) -> None:
            self.plain = Dropout(0.25)
            self.spatial = Dropout(0.25, spatial=True)

    layers = Pair()
    x = jnp.ones((4, 8, 8, 64))
    assert layers.plain(x) is x
    layers.train()
    seed_dropout(layers, jax.random.key(0))
    dropped = np.asarray(layers.plain(x))
    assert set(np.unique(dropped)) == {0, np.float32(1 / 0.75)}
    assert dropped.mean() == pytest.approx(1, abs=0.02)
    channels = np.asarray(layers.spatial(x))
    assert (channels == channels[:, :1, :1]).all()
    assert 0.1 < (channels[:, 0, 0] == 0).mean() < 0.4


def test_pooling_leaves_padding_out() -> None:
    x = -1 - np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    largest = operations.max_pool(jnp.asarray(x), 3, 2)
    np.testing.assert_array_equal(np.asarray(largest)[0, ..., 0], [[-1, -3], [-9, -11]])
    mean = operations.average_pool(jnp.asarray(x), (3, 3), (2, 2))
    np.testing.assert_allclose(np.asarray(mean)[0, ..., 0], [[-6, -7.5], [-12, -13.5]], rtol=1e-6)
    assert operations.average_pool(jnp.asarray(x), (2, 4), (2, 4), "VALID").shape == (1, 2, 1, 1)


def test_unpooling_puts_maxima_back_and_ties_go_first() -> None:
    x = np.zeros((1, 4, 4, 1), np.float32)
    x[0, 0, 1], x[0, 1, 0], x[0, 3, 3] = 5, 5, 7
    pooled, places = operations.max_pool_with_places(jnp.asarray(x))
    back = np.asarray(operations.max_unpool(pooled + 1, places))[0, ..., 0]
    expected = np.zeros((4, 4))
    expected[0, 1], expected[3, 3], expected[0, 2], expected[2, 0] = 6, 8, 1, 1
    np.testing.assert_array_equal(back, expected)
    slope = jax.grad(lambda x: operations.max_pool(x)[0, 0, 0, 0])(jnp.asarray(x))
    assert np.argmax(slope) == 1


@pytest.mark.parametrize("outputs", [(8, 12), (2, 3), (7, 5), (1, 1)])
def test_resizing_has_half_pixel_centres(outputs: tuple[int, int]) -> None:
    x = _values(2, 4, 6, 3)

    def axis(length: int, out: int, y: np.ndarray) -> np.ndarray:
        centres = np.clip((np.arange(out) + 0.5) * length / out - 0.5, 0, length - 1)
        low = np.floor(centres).astype(int)
        high = np.minimum(low + 1, length - 1)
        share = (centres - low)[:, None, None]
        return y[low] * (1 - share) + y[high] * share

    rows = [axis(4, outputs[0], image) for image in x]
    expected = [axis(6, outputs[1], y.swapaxes(0, 1)).swapaxes(0, 1) for y in rows]
    resized = operations.bilinear(jnp.asarray(x), *outputs)
    np.testing.assert_allclose(resized, np.stack(expected), atol=1e-6)
    sources = [
        np.floor((np.arange(out) + 0.5) * length / out).astype(int)
        for length, out in zip((4, 6), outputs, strict=True)
    ]
    nearest = operations.nearest(jnp.asarray(x), *outputs)
    np.testing.assert_array_equal(nearest, x[:, sources[0]][:, :, sources[1]])


def test_upsampling_and_shuffling_move_values() -> None:
    x = _values(1, 2, 3, 6)
    np.testing.assert_array_equal(
        operations.upsample(jnp.asarray(x), 2), x.repeat(2, axis=1).repeat(2, axis=2)
    )
    np.testing.assert_array_equal(operations.shuffle(jnp.asarray(x), 2), x[..., [0, 3, 1, 4, 2, 5]])
