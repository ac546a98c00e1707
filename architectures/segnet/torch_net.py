"""SegNet in PyTorch (Badrinarayanan et al., TPAMI 2017): VGG-16 and its mirror image."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn

from backends.torch_layers import Conv, ConvNormReLU, max_pool_places, max_unpool

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))


def _group(channels: int, filters: tuple[int, ...]) -> nn.Sequential:
    widths = pairwise((channels, *filters))
    return nn.Sequential(*(ConvNormReLU(narrow, wide, 3) for narrow, wide in widths))


class SegNet(nn.Module):
    """Encoder that remembers where each maximum stood, decoder that puts it back there."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        above = [1, *(filters[-1] for filters in ENCODER)]
        self.encoder = nn.ModuleList(map(_group, above, ENCODER))
        below = [ENCODER[-1][-1], *(filters[-1] for filters in DECODER)]
        self.decoder = nn.ModuleList(map(_group, below, DECODER))
        self.head = Conv(DECODER[-1][-1], classes, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        x, places = input, []
        for group in self.encoder:
            x, where = max_pool_places(group(x))
            places.append(where)
        for group in self.decoder:
            x = group(max_unpool(x, places.pop()))
        return self.head(x)


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> SegNet:  # noqa: ARG001
    """SegNet; any multiple of 64 as `height` and `width`."""
    return SegNet(classes)
