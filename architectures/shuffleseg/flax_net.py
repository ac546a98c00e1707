"""ShuffleSeg in Flax NNX (Gamal et al., 2018): ShuffleNet and the FCN-8s decoder."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from backends.flax_layers import (
    BatchNorm,
    Chain,
    Conv,
    ConvNorm,
    ConvNormReLU,
    ConvTranspose,
    DepthwiseConv,
)
from backends.flax_operations import add, average_pool, concatenate, max_pool, relu, shuffle

GROUPS = 2
# Filters and number of units of the three stages.
STAGES = ((200, 4), (400, 8), (800, 4))
STEM = 24


class ShuffleUnit(nnx.Module):
    """Grouped 1×1 → shuffle → depthwise 3×3 → grouped 1×1, added to the input (stride 1) or
    concatenated with its average pooling (stride 2)."""

    def __init__(self, channels: int, filters: int, *, stride: int, groups: int) -> None:
        inner = filters // 4
        made = filters if stride == 1 else filters - channels
        self.stride = stride
        self.reduce = ConvNormReLU(channels, inner, 1, groups=groups, bias=False)
        self.depthwise = DepthwiseConv(inner, 3, stride=stride, bias=False)
        self.norm = BatchNorm(inner)
        self.expand = ConvNorm(inner, made, 1, groups=groups, bias=False)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / stride, w / stride, filters)."""
        y = self.norm(self.depthwise(shuffle(self.reduce(x), GROUPS)))
        y = self.expand(y)
        if self.stride == 1:
            return relu(add(y, x))
        return relu(concatenate(y, average_pool(x, (3, 3), (2, 2))))


class FCN8Decoder(nnx.Module):
    """Scores of three stages, added while they are upsampled 2, 2 and 8 times."""

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        deep, middle, shallow = channels
        self.scores = nnx.List(
            [
                Conv(deep, classes, 1),
                Conv(middle, classes, 1, bias=False),
                Conv(shallow, classes, 1, bias=False),
            ]
        )
        self.upsamples = nnx.List(
            ConvTranspose(classes, classes, 4, stride=2, bias=False) for _ in range(2)
        )
        self.head = ConvTranspose(classes, classes, 16, stride=8, bias=False)

    def __call__(self, deep: jax.Array, middle: jax.Array, shallow: jax.Array) -> jax.Array:
        """Maps of 1/32, 1/16 and 1/8 of the size → logits (n, h, w, classes)."""
        y = self.scores[0](deep)
        y = add(self.upsamples[0](y), self.scores[1](middle))
        y = add(self.upsamples[1](y), self.scores[2](shallow))
        return self.head(y)


def _stage(channels: int, filters: int, count: int) -> Chain:
    # The stem has too few channels to be split into groups.
    groups = 1 if channels == STEM else GROUPS
    first = ShuffleUnit(channels, filters, stride=2, groups=groups)
    rest = (ShuffleUnit(filters, filters, stride=1, groups=GROUPS) for _ in range(count - 1))
    return Chain([first, *rest])


class ShuffleSeg(nnx.Module):
    """ShuffleNet with two groups, and the decoder."""

    def __init__(self, classes: int) -> None:
        filters = [filters for filters, _ in STAGES]
        counts = [count for _, count in STAGES]
        self.stem = Conv(1, STEM, 3, stride=2, bias=False)
        self.stages = nnx.List(map(_stage, [STEM, *filters[:-1]], filters, counts))
        self.decoder = FCN8Decoder(filters[::-1], classes)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        x = max_pool(relu(self.stem(x)), 3)
        maps: list[jax.Array] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return self.decoder(*reversed(maps))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> ShuffleSeg:  # noqa: ARG001
    """ShuffleSeg; any multiple of 64 as `height` and `width`."""
    return ShuffleSeg(classes)
