"""ENet in Flax NNX (Paszke et al., 2016): bottlenecks with early downsampling."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from flax import nnx

from backends.flax_layers import (
    BatchNorm,
    Chain,
    Conv,
    ConvNorm,
    ConvNormReLU,
    ConvTranspose,
    Dropout,
    PReLU,
)
from backends.flax_operations import add, concatenate, max_pool, relu, upsample

MOMENTUM = 0.1
Norm = partial(BatchNorm, momentum=MOMENTUM)
# The middles of stages 2 and 3: a dilation, or 0 for the asymmetric pair.
MIDDLES = (1, 2, 0, 4, 1, 8, 0, 16)


class Stem(nnx.Module):
    """Concatenate [conv 3×3/2, pooled input] → BN → PReLU."""

    def __init__(self) -> None:
        self.conv = Conv(1, 13, 3, stride=2)
        self.norm = Norm(14)
        self.activation = PReLU(14)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → (n, h / 2, w / 2, 14)."""
        return self.activation(self.norm(concatenate(self.conv(x), max_pool(x))))


class Bottleneck(nnx.Module):
    """Reduce, convolve (`dilation` 0: asymmetric), expand; plus the input."""

    def __init__(
        self, channels: int, filters: int, *, dilation: int, dropout: float, down: bool = False
    ) -> None:
        inner = filters // 4
        size = 2 if down else 1
        self.down = down
        self.reduce = ConvNorm(channels, inner, size, stride=size, bias=False, momentum=MOMENTUM)
        self.activation1 = PReLU(inner)
        if dilation:
            self.middle = Conv(inner, inner, 3, dilation=dilation)
        else:
            pair = Conv(inner, inner, (1, 5), bias=False), Conv(inner, inner, (5, 1))
            self.middle = Chain(pair)
        self.norm = Norm(inner)
        self.activation2 = PReLU(inner)
        self.expand = ConvNorm(inner, filters, 1, bias=False, momentum=MOMENTUM)
        self.dropout = Dropout(dropout, spatial=True)
        self.activation3 = PReLU(filters)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h, w, filters), half the size when downsampling."""
        y = self.activation1(self.reduce(x))
        y = self.activation2(self.norm(self.middle(y)))
        y = self.dropout(self.expand(y))
        if self.down:
            x = max_pool(x)
            x = jnp.pad(x, ((0, 0), (0, 0), (0, 0), (0, y.shape[3] - x.shape[3])))
        return self.activation3(add(y, x))


class DecoderBlock(nnx.Module):
    """Narrow, convolve or (`up`) upsample, expand; plus the input, projected when upsampling."""

    def __init__(self, channels: int, filters: int, *, up: bool = False) -> None:
        inner = filters // 4
        self.reduce = ConvNormReLU(channels, inner, 1, bias=False, momentum=MOMENTUM)
        if up:
            self.middle = ConvTranspose(inner, inner, 3, stride=2)
        else:
            self.middle = Conv(inner, inner, 3)
        self.norm = Norm(inner)
        self.expand = ConvNorm(inner, filters, 1, bias=False, momentum=MOMENTUM)
        shortcut = ConvNorm(channels, filters, 1, bias=False, momentum=MOMENTUM)
        self.shortcut = shortcut if up else None

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h, w, filters), twice the size when upsampling."""
        y = self.expand(relu(self.norm(self.middle(self.reduce(x)))))
        if self.shortcut is not None:
            x = upsample(self.shortcut(x), 2)
        return relu(add(y, x))


class ENet(nnx.Module):
    """Initial block, three encoder stages, a small decoder."""

    def __init__(self, classes: int) -> None:
        early = partial(Bottleneck, dilation=1, dropout=0.01)
        late = partial(Bottleneck, 128, 128, dropout=0.1)
        self.stem = Stem()
        self.stage1 = Chain([early(14, 64, down=True), *(early(64, 64) for _ in range(4))])
        self.stage2 = Chain(
            [
                Bottleneck(64, 128, dilation=1, dropout=0.1, down=True),
                *(late(dilation=dilation) for dilation in MIDDLES),
            ]
        )
        self.stage3 = Chain(late(dilation=dilation) for dilation in MIDDLES)
        self.decoder = Chain(
            [
                DecoderBlock(128, 64, up=True),
                DecoderBlock(64, 64),
                DecoderBlock(64, 64),
                DecoderBlock(64, 16, up=True),
                DecoderBlock(16, 16),
            ]
        )
        self.head = ConvTranspose(16, classes, 2, stride=2)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        x = self.stage3(self.stage2(self.stage1(self.stem(x))))
        return self.head(self.decoder(x))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> ENet:  # noqa: ARG001
    """ENet; any multiple of 64 as `height` and `width`."""
    return ENet(classes)
