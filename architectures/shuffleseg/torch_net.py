"""ShuffleSeg in PyTorch (Gamal et al., 2018): ShuffleNet encoder, FCN-8s decoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backends.torch_layers import (
    BatchNorm,
    ChannelShuffle,
    Conv,
    ConvNorm,
    ConvNormReLU,
    ConvTranspose,
    DepthwiseConv,
    average_pool,
    max_pool,
    relu_,
)

GROUPS = 2
# Filters and number of units of the three stages.
STAGES = ((200, 4), (400, 8), (800, 4))
STEM = 24


class ShuffleUnit(nn.Module):
    """Grouped 1×1 → shuffle → depthwise 3×3 → grouped 1×1, added to the input (stride 1) or
    concatenated with its average pooling (stride 2)."""

    def __init__(self, channels: int, filters: int, *, stride: int, groups: int) -> None:
        super().__init__()
        inner = filters // 4
        self.stride = stride
        made = filters if stride == 1 else filters - channels
        self.reduce = ConvNormReLU(channels, inner, 1, groups=groups, bias=False)
        self.shuffle = ChannelShuffle(GROUPS)
        self.depthwise = DepthwiseConv(inner, 3, stride=stride, bias=False)
        self.norm = BatchNorm(inner)
        self.expand = ConvNorm(inner, made, 1, groups=groups, bias=False)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h / stride, w / stride)."""
        x = self.norm(self.depthwise(self.shuffle(self.reduce(input))))
        x = self.expand(x)
        if self.stride == 1:
            return relu_(x + input)
        return relu_(torch.cat([x, average_pool(input, 3, 2)], 1))


class FCN8Decoder(nn.Module):
    """Scores of three stages, added while they are upsampled 2, 2 and 8 times."""

    def __init__(self, channels: Sequence[int], classes: int) -> None:
        super().__init__()
        deep, middle, shallow = channels
        self.scores = nn.ModuleList(
            (
                Conv(deep, classes, 1),
                Conv(middle, classes, 1, bias=False),
                Conv(shallow, classes, 1, bias=False),
            )
        )
        self.upsamples = nn.ModuleList(
            ConvTranspose(classes, classes, 4, stride=2, bias=False) for _ in range(2)
        )
        self.head = ConvTranspose(classes, classes, 16, stride=8, bias=False)

    def forward(self, deep: Tensor, middle: Tensor, shallow: Tensor) -> Tensor:
        """Maps of 1/32, 1/16 and 1/8 of the size → logits (n, classes, h, w)."""
        x = self.scores[0](deep)
        x = self.upsamples[0](x) + self.scores[1](middle)
        x = self.upsamples[1](x) + self.scores[2](shallow)
        return self.head(x)


class ShuffleSeg(nn.Module):
    """ShuffleNet with two groups, and the decoder."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = Conv(1, STEM, 3, stride=2, bias=False)
        self.stages = nn.ModuleList()
        channels = STEM
        for filters, count in STAGES:
            # The stem has too few channels to be split into groups.
            groups = 1 if channels == STEM else GROUPS
            self.stages.append(
                nn.Sequential(
                    ShuffleUnit(channels, filters, stride=2, groups=groups),
                    *(
                        ShuffleUnit(filters, filters, stride=1, groups=GROUPS)
                        for _ in range(count - 1)
                    ),
                )
            )
            channels = filters
        self.decoder = FCN8Decoder([filters for filters, _ in reversed(STAGES)], classes)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        x = max_pool(relu_(self.stem(input)), 3)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return self.decoder(*reversed(maps))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> ShuffleSeg:  # noqa: ARG001
    """ShuffleSeg; any multiple of 64 as `height` and `width`."""
    return ShuffleSeg(classes)
