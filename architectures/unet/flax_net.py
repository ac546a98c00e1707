"""U-Net in Flax NNX (Ronneberger et al., MICCAI 2015), as the RFBSNet paper compares it."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from backends.flax_layers import Conv, ConvTranspose, Dropout
from backends.flax_operations import concatenate, max_pool, relu


class ConvBlock(nnx.Module):
    """Twice: convolution 3×3 → ReLU."""

    def __init__(self, channels: int, filters: int) -> None:
        self.conv1 = Conv(channels, filters, 3)
        self.conv2 = Conv(filters, filters, 3)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h, w, filters)."""
        return relu(self.conv2(relu(self.conv1(x))))


class DecoderStage(nnx.Module):
    """Upsample, concatenate [upsampled, skip], dropout, block."""

    def __init__(self, channels: int, filters: int, dropout: float) -> None:
        self.upsample = ConvTranspose(channels, filters, 3, stride=2)
        self.dropout = Dropout(dropout)
        self.block = ConvBlock(2 * filters, filters)

    def __call__(self, x: jax.Array, skip: jax.Array) -> jax.Array:
        """(n, h, w, channels) and the skip (n, 2h, 2w, filters) → (n, 2h, 2w, filters)."""
        return self.block(self.dropout(concatenate(self.upsample(x), skip)))


class UNetTrunk(nnx.Module):
    """The U-Net without its head: `filters` going down, `bottleneck`, `filters` going up."""

    def __init__(
        self, channels: int, filters: Sequence[int], bottleneck: int, dropout: float = 0.3
    ) -> None:
        above = [channels, *filters[:-1]]
        self.encoder = nnx.List(map(ConvBlock, above, filters))
        self.dropouts = nnx.List(Dropout(dropout) for _ in filters)
        self.bottleneck = ConvBlock(filters[-1], bottleneck)
        rising = list(reversed(filters))
        below = [bottleneck, *rising[:-1]]
        self.decoder = nnx.List(
            DecoderStage(wide, narrow, dropout) for wide, narrow in zip(below, rising, strict=True)
        )

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, channels) → (n, h, w, filters[0])."""
        skips: list[jax.Array] = []
        for block, dropout in zip(self.encoder, self.dropouts, strict=True):
            skips.append(block(x))
            x = dropout(max_pool(skips[-1]))
        x = self.bottleneck(x)
        for stage in self.decoder:
            x = stage(x, skips.pop())
        return x


class UNet(UNetTrunk):
    """U-Net with 64 to 1024 channels."""

    def __init__(self, classes: int) -> None:
        super().__init__(1, (64, 128, 256, 512), bottleneck=1024)
        self.head = Conv(64, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        return self.head(super().__call__(x))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> UNet:  # noqa: ARG001
    """U-Net; any multiple of 64 as `height` and `width`."""
    return UNet(classes)
