"""SegNet in Flax NNX (Badrinarayanan et al., TPAMI 2017): VGG-16 and its mirror image."""

from __future__ import annotations

from collections.abc import Sequence

import jax
from flax import nnx

from backends.flax_layers import Chain, Conv, ConvNormReLU
from backends.flax_operations import max_pool_with_places, max_unpool

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))


def _group(channels: int, filters: Sequence[int]) -> Chain:
    return Chain(map(ConvNormReLU, [channels, *filters[:-1]], filters))


class SegNet(nnx.Module):
    """Encoder that keeps the places of its maxima, decoder that puts them back."""

    def __init__(self, classes: int) -> None:
        ends = [group[-1] for group in ENCODER + DECODER]
        starts = [1, *ends[:-1]]
        groups = list(map(_group, starts, ENCODER + DECODER))
        self.encoder = nnx.List(groups[: len(ENCODER)])
        self.decoder = nnx.List(groups[len(ENCODER) :])
        self.head = Conv(ends[-1], classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        """(n, h, w, 1) → logits (n, h, w, classes)."""
        places: list[jax.Array] = []
        for group in self.encoder:
            x, place = max_pool_with_places(group(x))
            places.append(place)
        for group in self.decoder:
            x = group(max_unpool(x, places.pop()))
        return self.head(x)


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> SegNet:  # noqa: ARG001
    """SegNet; any multiple of 64 as `height` and `width`."""
    return SegNet(classes)
