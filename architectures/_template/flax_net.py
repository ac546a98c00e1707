"""Template in Flax NNX: layers and forward only."""

from __future__ import annotations

import jax
from flax import nnx

from backends.flax_layers import Conv, ConvNormReLU, ConvTranspose


class Template(nnx.Module):
    """Half the size, and back. Attributes are named as in PyTorch."""

    def __init__(self, classes: int) -> None:
        self.stem = ConvNormReLU(1, 8, 3, stride=2)
        self.middle = ConvNormReLU(8, 8, 3)
        self.upsample = ConvTranspose(8, 8, 3, stride=2)
        self.head = Conv(8, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        return self.head(self.upsample(self.middle(self.stem(x))))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> Template:  # noqa: ARG001
    """Template; any multiple of 64 as `height` and `width`."""
    return Template(classes)
