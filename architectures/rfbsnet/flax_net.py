"""RFBSNet in Flax NNX: a small U-Net at half size beside a shallow branch."""

from __future__ import annotations

import jax
from flax import nnx

from architectures.unet.flax_net import UNetTrunk
from backends.flax_layers import Conv, ConvTranspose
from backends.flax_operations import add, concatenate, max_pool, relu


class RFBSNet(nnx.Module):
    """Input downsampling, deep and shallow branch, sum, classifier."""

    def __init__(self, classes: int) -> None:
        self.stem = Conv(1, 15, 3, stride=2)
        self.deep = UNetTrunk(16, (32, 64, 128), bottleneck=256)
        self.shallow = Conv(15, 32, 1)
        self.upsample = ConvTranspose(32, 32, 3, stride=2)
        self.head = Conv(32, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        stem = relu(self.stem(x))
        deep = self.deep(concatenate(stem, max_pool(x)))
        shallow = relu(self.shallow(stem))
        return self.head(self.upsample(add(deep, shallow)))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> RFBSNet:  # noqa: ARG001
    """RFBSNet; any multiple of 64 as `height` and `width`."""
    return RFBSNet(classes)
