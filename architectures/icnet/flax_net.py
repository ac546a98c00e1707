"""ICNet in Flax NNX (Zhao et al., ECCV 2018): a cascade of three resolutions."""

from __future__ import annotations

from collections.abc import Iterable

import jax
from flax import nnx

from backends.flax_layers import BatchNorm, Chain, Conv, ConvNorm
from backends.flax_operations import (
    add,
    average_pool,
    bilinear,
    max_pool,
    relu,
    upsample_bilinear,
)


class ConvReLUNorm(nnx.Module):
    """Convolution → ReLU → BN, in that order."""

    def __init__(
        self, channels: int, filters: int, kernel: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        self.conv = Conv(channels, filters, kernel, stride=stride, dilation=dilation)
        self.norm = BatchNorm(filters)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / stride, w / stride, filters)."""
        return self.norm(relu(self.conv(x)))


class Bottleneck(nnx.Module):
    """1×1 → 3×3 → 1×1, plus the input, projected if the width changes; → ReLU."""

    def __init__(
        self, channels: int, inner: int, filters: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        self.reduce = ConvReLUNorm(channels, inner, 1, stride=stride)
        self.middle = ConvReLUNorm(inner, inner, 3, dilation=dilation)
        self.expand = ConvNorm(inner, filters, 1)
        shortcut = ConvNorm(channels, filters, 1, stride=stride)
        self.shortcut = shortcut if channels != filters else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / stride, w / stride, filters)."""
        y = self.expand(self.middle(self.reduce(x)))
        return relu(add(y, x if self.shortcut is None else self.shortcut(x)))


class Cascade(nnx.Module):
    """The deep map, upsampled, plus the shallower one; → ReLU."""

    def __init__(self, deep: int, shallow: int) -> None:
        self.deep = ConvNorm(deep, 128, 3, dilation=2)
        self.shallow = ConvNorm(shallow, 128, 1)

    def __call__(self, deep: jax.Array, shallow: jax.Array) -> jax.Array:
        """(n, h, w, deep) and (n, 2h, 2w, shallow) → (n, 2h, 2w, 128)."""
        deep = self.deep(upsample_bilinear(deep, 2))
        return relu(add(deep, self.shallow(shallow)))


def bottlenecks(
    count: int, channels: int, inner: int, filters: int, dilation: int = 1
) -> Iterable[Bottleneck]:
    """`count` bottlenecks in a row, the first of which changes the width."""
    for i in range(count):
        yield Bottleneck(filters if i else channels, inner, filters, dilation=dilation)


def pyramid(x: jax.Array) -> jax.Array:
    """(n, h, w, c) plus its means over windows of h, h/2, h/3 and h/4; the same shape."""
    height, width = x.shape[1:3]
    total = x
    for parts in (1, 2, 3, 4):
        size = max(1, height // parts), max(1, width // parts)
        total = add(total, bilinear(average_pool(x, size, size, "VALID"), height, width))
    return total


class ICNet(nnx.Module):
    """Half, quarter and full resolution, joined by two cascades."""

    def __init__(self, classes: int) -> None:
        self.stem = Chain(
            [ConvReLUNorm(1, 32, 3, stride=2), ConvReLUNorm(32, 32, 3), ConvReLUNorm(32, 64, 3)]
        )
        self.half_size = Chain([*bottlenecks(3, 64, 32, 128), Bottleneck(128, 64, 256, stride=2)])
        self.quarter_size = Chain(
            [
                *bottlenecks(3, 256, 64, 256),
                *bottlenecks(6, 256, 128, 512, dilation=2),
                *bottlenecks(3, 512, 256, 1024, dilation=4),
            ]
        )
        self.pyramid = ConvReLUNorm(1024, 256, 1)
        self.cascade1 = Cascade(256, 256)
        self.full_size = Chain(
            [
                ConvReLUNorm(1, 32, 3, stride=2),
                ConvReLUNorm(32, 32, 3, stride=2),
                ConvReLUNorm(32, 64, 3, stride=2),
            ]
        )
        self.cascade2 = Cascade(128, 64)
        self.head = Conv(128, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        height, width = x.shape[1:3]
        y = self.stem(bilinear(x, height // 2, width // 2))
        half = self.half_size(max_pool(y, 3, 2, "VALID"))
        quarter = bilinear(half, half.shape[1] // 2, half.shape[2] // 2)
        y = self.pyramid(pyramid(self.quarter_size(quarter)))
        y = self.cascade2(self.cascade1(y, half), self.full_size(x))
        return self.head(bilinear(upsample_bilinear(y, 2), height, width))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> ICNet:  # noqa: ARG001
    """ICNet; any multiple of 64 as `height` and `width`."""
    return ICNet(classes)
