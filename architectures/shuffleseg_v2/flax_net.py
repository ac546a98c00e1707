"""ShuffleSeg V2 in Flax NNX: units of ShuffleNet V2 (Ma et al., ECCV 2018), FCN-8s decoder."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import nnx

from architectures.shuffleseg.flax_net import STEM, FCN8Decoder
from backends.flax_layers import BatchNorm, Chain, Conv, ConvNormReLU, DepthwiseConv
from backends.flax_operations import concatenate, max_pool, relu, shuffle

# Filters of the working branch and number of units; a stage's output is twice as wide.
STAGES = ((116, 4), (232, 8), (464, 4))


class Shortcut(nnx.Module):
    """Depthwise 3×3/2 → normalisation → 1×1: how a unit of stride 2 passes its input on."""

    def __init__(self, channels: int, filters: int) -> None:
        self.depthwise = DepthwiseConv(channels, 3, stride=2)
        self.norm = BatchNorm(channels)
        self.project = ConvNormReLU(channels, filters, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / 2, w / 2, filters)."""
        return self.project(self.norm(self.depthwise(x)))


class Work(nnx.Module):
    """1×1 → depthwise 3×3 → 1×1, all `filters` wide."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        self.expand = ConvNormReLU(channels, filters, 1)
        self.depthwise = DepthwiseConv(filters, 3, stride=stride)
        self.norm = BatchNorm(filters)
        self.project = ConvNormReLU(filters, filters, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / stride, w / stride, filters)."""
        return self.project(self.norm(self.depthwise(self.expand(x))))


class DownUnit(nnx.Module):
    """Stride 2: working branch and shortcut, both on the whole input."""

    def __init__(self, channels: int, filters: int) -> None:
        self.work = Work(channels, filters, 2)
        self.shortcut = Shortcut(channels, filters)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / 2, w / 2, 2 · filters)."""
        return shuffle(concatenate(self.work(x), self.shortcut(x)), 2)


class SplitUnit(nnx.Module):
    """Stride 1: the first half of the channels passes, the second is worked on."""

    def __init__(self, filters: int) -> None:
        self.work = Work(filters, filters, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 2 · filters) → the same shape."""
        passed, worked = jnp.split(x, 2, axis=3)
        return shuffle(concatenate(self.work(worked), passed), 2)


class ShuffleSegV2(nnx.Module):
    """ShuffleNet V2 with a wide working branch, and the decoder."""

    def __init__(self, classes: int) -> None:
        self.stem = Conv(1, STEM, 3, stride=2, bias=False)
        self.stages = nnx.List()
        channels = STEM
        for filters, count in STAGES:
            units = (SplitUnit(filters) for _ in range(count - 1))
            self.stages.append(Chain([DownUnit(channels, filters), *units]))
            channels = 2 * filters
        self.decoder = FCN8Decoder([2 * filters for filters, _ in reversed(STAGES)], classes)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        x = max_pool(relu(self.stem(x)), 3)
        maps: list[jax.Array] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return self.decoder(*reversed(maps))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> ShuffleSegV2:  # noqa: ARG001
    """ShuffleSeg V2; any multiple of 64 as `height` and `width`."""
    return ShuffleSegV2(classes)
