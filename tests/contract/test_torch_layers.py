"""PyTorch's shared layers against cases worked out by hand."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor

from backends import torch_layers as layers
from backends.errors import SizeError
from tests.conftest import ROOT


def _row(*values: float) -> Tensor:
    return torch.tensor(values).reshape(1, 1, 1, -1)


def _square(*values: float) -> Tensor:
    """The outer product of a row with itself, so that both axes are tested at once."""
    row = torch.tensor(values)
    return torch.outer(row, row)[None, None]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "dilation", "expected"),
    [
        (4, 3, 1, 1, (1, 1)),
        (4, 3, 2, 1, (0, 1)),
        (5, 3, 2, 1, (1, 1)),
        (6, 5, 2, 1, (1, 2)),
        (7, 3, 2, 2, (2, 2)),
        (4, 2, 2, 1, (0, 0)),
        (5, 2, 2, 1, (0, 1)),
        (5, 1, 2, 1, (0, 0)),
        (3, 2, 1, 1, (0, 1)),
    ],
)
def test_same_padding(
    size: int, kernel: int, stride: int, dilation: int, expected: tuple[int, int]
) -> None:
    assert layers.same_padding(size, kernel, stride, dilation) == expected


@pytest.mark.parametrize(
    ("values", "stride", "dilation", "expected"),
    [
        ((1, 2, 3, 4), 1, 1, (3, 6, 9, 7)),
        # The uneven row goes after: windows 123 and 34·, not ·12 and 234.
        ((1, 2, 3, 4), 2, 1, (6, 7)),
        ((1, 2, 3, 4, 5), 2, 1, (3, 9, 9)),
        ((1, 2, 3, 4, 5), 1, 2, (4, 6, 9, 6, 8)),
    ],
)
def test_convolution_pads_same(
    values: tuple[float, ...], stride: int, dilation: int, expected: tuple[float, ...]
) -> None:
    conv = layers.Conv(1, 1, 3, stride=stride, dilation=dilation, bias=False)
    torch.nn.init.ones_(conv.weight)
    square = conv(_square(*map(float, values)))
    torch.testing.assert_close(square, _square(*map(float, expected)))


@pytest.mark.parametrize(
    ("kernel", "stride", "expected"),
    [
        # Full output 1 1 3 2 2, the last dropped.
        (3, 2, (1, 1, 3, 2)),
        # Full output 1 1 3 3 2 2, one dropped at each side.
        (4, 2, (1, 3, 3, 2)),
        (2, 2, (1, 1, 2, 2)),
        # Full output eight 1, eight 3, eight 2, four dropped at each side.
        (16, 8, (1, 1, 1, 1, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2)),
    ],
)
def test_transposed_convolution_crops_same(
    kernel: int, stride: int, expected: tuple[float, ...]
) -> None:
    conv = layers.ConvTranspose(1, 1, kernel, stride=stride, bias=False)
    torch.nn.init.ones_(conv.weight)
    torch.testing.assert_close(conv(_square(1.0, 2.0)), _square(*map(float, expected)))


def test_transposed_convolution_does_not_mirror_the_kernel() -> None:
    conv = layers.ConvTranspose(1, 1, 3, stride=2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(_square(1.0, 2.0, 3.0))
    torch.testing.assert_close(conv(_square(1.0, 0.0)), _square(1.0, 2.0, 3.0, 0.0))


@pytest.mark.parametrize(
    ("values", "expected"),
    [((-4, -3, -2, -1), (-2, -1)), ((-5, -4, -3, -2, -1), (-4, -2, -1))],
)
def test_max_pooling_pads_with_minus_infinity(
    values: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    pooled = layers.max_pool(_row(*map(float, values)), 3)
    torch.testing.assert_close(pooled, _row(*map(float, expected)))


@pytest.mark.parametrize(
    ("values", "expected"), [((1, 2, 3, 4), (2, 3.5)), ((1, 2, 3, 4, 5), (1.5, 3, 4.5))]
)
def test_average_pooling_leaves_the_padding_out(
    values: tuple[float, ...], expected: tuple[float, ...]
) -> None:
    pooled = layers.average_pool(_row(*map(float, values)), 3, 2)
    torch.testing.assert_close(pooled, _row(*map(float, expected)))


def test_unpooling_puts_ties_first_in_row_order() -> None:
    image = torch.tensor([[5.0, 5.0, 1.0, 2.0], [5.0, 5.0, 2.0, 2.0]])[None, None]
    pooled, places = layers.max_pool_places(image)
    expected = torch.tensor([[5.0, 0.0, 0.0, 2.0], [0.0, 0.0, 0.0, 0.0]])[None, None]
    torch.testing.assert_close(layers.max_unpool(pooled, places), expected)


def test_what_is_exported_pools_and_unpools_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    # Whole numbers from 0 to 2: most windows hold a tie.
    images = torch.randint(3, (2, 3, 8, 6), generator=torch.Generator().manual_seed(0)).float()
    pooled, places = layers.max_pool_places(images)
    expected = layers.max_unpool(pooled + 1, places)
    monkeypatch.setattr(torch.compiler, "is_exporting", lambda: True)
    exported, places = layers.max_pool_places(images)
    torch.testing.assert_close(exported, pooled, rtol=0, atol=0)
    unpooled = layers.max_unpool(exported + 1, places)
    torch.testing.assert_close(unpooled, expected, rtol=0, atol=0)


@pytest.mark.parametrize("stride", [1, 2])
def test_float64_depthwise_convolution_is_the_same_sum(stride: int) -> None:
    generator = torch.Generator().manual_seed(0)
    conv = layers.DepthwiseConv(5, 3, stride=stride).double()
    for weight in conv.parameters():
        weight.data.copy_(torch.randn(weight.shape, generator=generator))
    images = torch.randn((2, 5, 9, 8), generator=generator, dtype=torch.float64)
    plain = layers.Conv.forward(conv, images)
    torch.testing.assert_close(conv(images), plain, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("size", "target"), [(3, 8), (8, 3), (5, 5), (1, 4)])
def test_nearest_resizing_takes_the_pixel_under_the_centre(size: int, target: int) -> None:
    image = torch.arange(float(size)).reshape(1, 1, 1, size)
    expected = [float((2 * i + 1) * size // (2 * target)) for i in range(target)]
    torch.testing.assert_close(layers.resize_nearest(image, (1, target)), _row(*expected))


def test_bilinear_resizing_has_half_pixel_centres_and_no_antialiasing() -> None:
    image = _row(*map(float, range(8)))
    # Centres of the two outputs lie at 1.5 and 5.5; antialiasing would mean all over 0–3, 4–7.
    spike = _row(0.0, 8.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0)
    torch.testing.assert_close(layers.resize_bilinear(image, (1, 2)), _row(1.5, 5.5))
    torch.testing.assert_close(layers.resize_bilinear(spike, (1, 2)), _row(4.0, 0.0))
    doubled = layers.resize_bilinear(_row(0.0, 4.0), (1, 4))
    torch.testing.assert_close(doubled, _row(0.0, 1.0, 3.0, 4.0))


def test_shuffling_transposes_the_groups() -> None:
    image = torch.arange(6.0).reshape(1, 6, 1, 1)
    shuffled = layers.ChannelShuffle(2)(image)
    assert shuffled.flatten().tolist() == [0, 3, 1, 4, 2, 5]


def test_batch_norm_keeps_the_biased_variance_in_keras_sense() -> None:
    norm = layers.BatchNorm(3, momentum=0.9)
    random = np.random.default_rng(0)
    mean, variance = np.zeros(3), np.ones(3)
    for _ in range(3):
        batch = random.normal(2.0, 3.0, (2, 3, 1, 2)).astype(np.float32)
        output = norm(torch.tensor(batch, requires_grad=True))
        # The backward pass holds on to the statistics, so changing them in place would fail here.
        output.sum().backward()
        own = batch.mean((0, 2, 3), keepdims=True), batch.var((0, 2, 3), keepdims=True)
        mean = 0.9 * mean + 0.1 * own[0].ravel()
        variance = 0.9 * variance + 0.1 * own[1].ravel()
        scaled = (batch - own[0]) / np.sqrt(own[1] + 1e-3)
        np.testing.assert_allclose(output.detach().numpy(), scaled, atol=1e-5)
    np.testing.assert_allclose(norm.running_mean.numpy(), mean, rtol=1e-5)
    np.testing.assert_allclose(norm.running_var.numpy(), variance, rtol=1e-5)


def test_batch_norm_refuses_a_batch_without_variance() -> None:
    with pytest.raises(SizeError, match="at least two images"):
        layers.BatchNorm(4)(torch.zeros(1, 4, 1, 1))


STRIDED = """
import torch
from backends.torch_layers import Conv
conv = Conv(8, 32, 1, stride=2, bias=False).to(memory_format=torch.channels_last)
plain = torch.nn.Conv2d(8, 32, 1, stride=2, bias=False)
with torch.no_grad():
    conv.weight.normal_()
    plain.weight.copy_(conv.weight)
for _ in range(8):
    images = torch.randn(2, 8, 128, 128).to(memory_format=torch.channels_last).requires_grad_()
    conv(images).sum().backward()
    with torch.no_grad():
        torch.testing.assert_close(conv(images), plain(images.contiguous()))
print("sound")
"""


def test_a_strided_pointwise_convolution_trains_at_the_papers_size() -> None:
    # In a process of its own: what it guards against is a memory fault.
    done = subprocess.run(
        [sys.executable, "-c", STRIDED], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, "sound"), done.stderr[-500:]
