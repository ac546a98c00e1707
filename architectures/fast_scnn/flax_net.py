"""Fast-SCNN in Flax NNX (Poudel et al., BMVC 2019): two branches after a shared start."""

from __future__ import annotations

import jax
from flax import nnx

from backends.flax_layers import (
    BatchNorm,
    Chain,
    Conv,
    ConvNorm,
    ConvNormReLU,
    DepthwiseConv,
    Dropout,
    SeparableConv,
)
from backends.flax_operations import (
    add,
    average_pool,
    bilinear,
    concatenate,
    nearest,
    relu,
    upsample,
)

# The pyramid pools windows of b/8 of the map.
PYRAMID = (1, 2, 4)


class SeparableNormReLU(SeparableConv):
    """Depthwise separable convolution 3×3 → BN → ReLU."""

    def __init__(self, channels: int, filters: int, *, stride: int = 1) -> None:
        super().__init__(channels, filters, 3, stride=stride)
        self.norm = BatchNorm(filters)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / stride, w / stride, filters)."""
        return relu(self.norm(super().__call__(x)))


class Bottleneck(nnx.Module):
    """Expand six times, depthwise convolution, project; the input added if the shapes agree."""

    def __init__(self, channels: int, filters: int, *, stride: int, residual: bool) -> None:
        self.expand = ConvNormReLU(channels, 6 * channels, 1)
        self.depthwise = DepthwiseConv(6 * channels, 3, stride=stride)
        self.norm = BatchNorm(6 * channels)
        self.project = ConvNorm(6 * channels, filters, 1)
        self.residual = residual

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h / stride, w / stride, filters)."""
        y = self.project(relu(self.norm(self.depthwise(self.expand(x)))))
        return add(y, x) if self.residual else y


def _group(channels: int, filters: int, stride: int) -> Chain:
    first = Bottleneck(channels, filters, stride=stride, residual=False)
    rest = (Bottleneck(filters, filters, stride=1, residual=True) for _ in range(2))
    return Chain([first, *rest])


class Fusion(nnx.Module):
    """Sum of the high-resolution branch and the upsampled deep one → BN → ReLU."""

    def __init__(self, low: int, deep: int, filters: int) -> None:
        self.low = ConvNorm(low, filters, 1)
        self.depthwise = DepthwiseConv(deep, 3)
        self.depthwise_norm = BatchNorm(deep)
        self.pointwise = Conv(deep, filters, 1)
        self.norm = BatchNorm(filters)

    def __call__(self, low: jax.Array, deep: jax.Array) -> jax.Array:
        """(n, 4h, 4w, low) and (n, h, w, deep) → (n, 4h, 4w, filters)."""
        y = self.depthwise(upsample(deep, 4))
        y = self.pointwise(relu(self.depthwise_norm(y)))
        return relu(self.norm(add(self.low(low), y)))


class FastSCNN(nnx.Module):
    """Learning to downsample, bottlenecks, pyramid, fusion, classifier."""

    def __init__(self, classes: int) -> None:
        self.stem = ConvNormReLU(1, 32, 3, stride=2)
        self.down = Chain(
            [SeparableNormReLU(32, 48, stride=2), SeparableNormReLU(48, 64, stride=2)]
        )
        self.bottlenecks = Chain([_group(64, 64, 2), _group(64, 96, 2), _group(96, 128, 1)])
        self.pyramid = nnx.List(ConvNormReLU(128, 128, 3, stride=2) for _ in PYRAMID)
        self.fusion = Fusion(64, 512, 128)
        self.classifier = Chain(SeparableNormReLU(128, 128) for _ in range(2))
        self.head = ConvNorm(128, classes, 1)
        self.dropout = Dropout(0.3)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        low = self.down(self.stem(x))
        deep = self.bottlenecks(low)
        height, width = deep.shape[1:3]
        levels = [deep]
        for share, conv in zip(PYRAMID, self.pyramid, strict=True):
            window = max(1, height * share // 8), max(1, width * share // 8)
            pooled = average_pool(deep, window, window, "VALID")
            levels.append(nearest(conv(pooled), height, width))
        y = self.classifier(self.fusion(low, concatenate(*levels)))
        return self.dropout(bilinear(self.head(y), x.shape[1], x.shape[2]))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> FastSCNN:  # noqa: ARG001
    """Fast-SCNN; any multiple of 64 as `height` and `width`."""
    return FastSCNN(classes)
