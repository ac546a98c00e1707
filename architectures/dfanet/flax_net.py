"""DFANet in Flax NNX (Li et al., CVPR 2019): three light backbones, each refining the last."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from backends.flax_layers import BatchNorm, Chain, Conv, ConvNorm, ConvNormReLU, SeparableConv
from backends.flax_operations import (
    add,
    concatenate,
    global_mean,
    multiply,
    relu,
    sigmoid,
    upsample_bilinear,
)

# Filters and number of blocks of stages 2, 3 and 4.
STAGES = ((32, 4), (64, 6), (128, 4))


class SeparableNorm(SeparableConv):
    """Depthwise separable convolution 3×3 without bias → BN."""

    def __init__(self, channels: int, filters: int, *, stride: int = 1) -> None:
        super().__init__(channels, filters, 3, stride=stride, bias=False)
        self.norm = BatchNorm(filters)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / stride, w / stride, filters)."""
        return self.norm(super().__call__(x))


class SeparableResidual(nnx.Module):
    """ReLU, then three separable convolutions beside the shortcut."""

    def __init__(self, channels: int, filters: int, *, stride: int) -> None:
        inner = filters // 4
        self.body = nnx.List(
            [
                SeparableNorm(channels, inner),
                SeparableNorm(inner, inner),
                SeparableNorm(inner, filters, stride=stride),
            ]
        )
        shortcut = ConvNorm(channels, filters, 1, stride=stride, bias=False)
        self.shortcut = shortcut if stride != 1 or channels != filters else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / stride, w / stride, filters)."""
        x = relu(x)
        first, second, third = self.body
        y = third(relu(second(relu(first(x)))))
        return add(y, x if self.shortcut is None else self.shortcut(x))


class Attention(nnx.Module):
    """Weigh the channels by a gate computed from their global means."""

    def __init__(self, channels: int) -> None:
        self.first = ConvNormReLU(channels, channels, 1)
        self.second = ConvNorm(channels, channels, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → the same shape."""
        return multiply(sigmoid(self.second(self.first(global_mean(x)))), x)


class Backbone(nnx.Module):
    """Stages 2 to 4 and attention; `channels` are those that each stage sees."""

    def __init__(self, channels: Sequence[int]) -> None:
        self.stages = nnx.List(
            Chain(
                SeparableResidual(filters if i else width, filters, stride=1 if i else 2)
                for i in range(blocks)
            )
            for width, (filters, blocks) in zip(channels, STAGES, strict=True)
        )
        self.attention = Attention(STAGES[-1][0])

    def __call__(self, x: jax.Array, beside: Sequence[jax.Array] = ()) -> list[jax.Array]:
        """Outputs of stages 2, 3, 4 and the attended one.

        `beside`: maps of the backbone before, concatenated ahead of the input of stages 3 and 4.
        """
        outputs: list[jax.Array] = []
        for index, stage in enumerate(self.stages):
            if beside and index:
                x = concatenate(beside[index - 1], x)
            x = stage(x)
            outputs.append(x)
        return [*outputs, self.attention(x)]


class DFANet(nnx.Module):
    """Three backbones in a row and one decoder over all of them."""

    def __init__(self, classes: int) -> None:
        f2, f3, f4 = (filters for filters, _ in STAGES)
        refining = (f2 + f4, f3 + f2, f4 + f3)
        self.stem = ConvNormReLU(1, 8, 5, stride=2, bias=False)
        self.backbones = nnx.List(map(Backbone, ((8, f2, f3), refining, refining)))
        self.low = nnx.List(ConvNormReLU(f2, 32, 1, bias=False) for _ in range(3))
        self.front = ConvNormReLU(32, 32, 1, bias=False)
        self.high = nnx.List(ConvNormReLU(f4, 32, 1, bias=False) for _ in range(3))
        self.classifier = ConvNormReLU(32, 2 * classes, 1, bias=False)
        self.head = Conv(2 * classes, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        maps = [self.backbones[0](self.stem(x))]
        for backbone in self.backbones[1:]:
            s2, s3, s4, attended = maps[-1]
            maps.append(backbone(concatenate(s2, upsample_bilinear(attended, 4)), (s3, s4)))
        a, b, c = maps
        early = self.low[0](a[0])
        early = add(early, upsample_bilinear(self.low[1](b[0]), 2))
        early = add(early, upsample_bilinear(self.low[2](c[0]), 4))
        y = self.front(early)
        for factor, project, backbone in zip((4, 8, 16), self.high, maps, strict=True):
            y = add(y, upsample_bilinear(project(backbone[3]), factor))
        return self.head(upsample_bilinear(self.classifier(y), 4))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> DFANet:  # noqa: ARG001
    """DFANet; any multiple of 64 as `height` and `width`."""
    return DFANet(classes)
