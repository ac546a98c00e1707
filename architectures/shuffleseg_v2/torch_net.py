"""ShuffleSeg V2 in PyTorch: ShuffleNet V2 units (Ma et al., ECCV 2018), FCN-8s decoder."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from architectures.shuffleseg.torch_net import STEM, FCN8Decoder
from backends.torch_layers import (
    BatchNorm,
    ChannelShuffle,
    Conv,
    ConvNormReLU,
    DepthwiseConv,
    max_pool,
    relu_,
)

# Filters of the working branch and number of units; a stage's output is twice as wide.
STAGES = ((116, 4), (232, 8), (464, 4))


class Shortcut(nn.Module):
    """Depthwise 3×3/2 → normalisation → 1×1: how a unit of stride 2 passes its input on."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(channels, 3, stride=2)
        self.norm = BatchNorm(channels)
        self.project = ConvNormReLU(channels, filters, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h/2, w/2)."""
        return self.project(self.norm(self.depthwise(input)))


class Work(nn.Module):
    """1×1 → depthwise 3×3 → 1×1, all `filters` wide."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        self.expand = ConvNormReLU(channels, filters, 1)
        self.depthwise = DepthwiseConv(filters, 3, stride=stride)
        self.norm = BatchNorm(filters)
        self.project = ConvNormReLU(filters, filters, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h / stride, w / stride)."""
        return self.project(self.norm(self.depthwise(self.expand(input))))


class DownUnit(nn.Module):
    """Stride 2: working branch and shortcut, both on the whole input."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.work = Work(channels, filters, 2)
        self.shortcut = Shortcut(channels, filters)
        self.shuffle = ChannelShuffle(2)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, 2 · filters, h/2, w/2)."""
        return self.shuffle(torch.cat([self.work(input), self.shortcut(input)], 1))


class SplitUnit(nn.Module):
    """Stride 1: the first half of the channels passes, the second is worked on."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.work = Work(filters, filters, 1)
        self.shuffle = ChannelShuffle(2)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 2 · filters, h, w) → the same shape."""
        passed, worked = input.chunk(2, 1)
        return self.shuffle(torch.cat([self.work(worked), passed], 1))


class ShuffleSegV2(nn.Module):
    """ShuffleNet V2 with a wide working branch, and the decoder."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = Conv(1, STEM, 3, stride=2, bias=False)
        self.stages = nn.ModuleList()
        channels = STEM
        for filters, count in STAGES:
            units = (SplitUnit(filters) for _ in range(count - 1))
            self.stages.append(nn.Sequential(DownUnit(channels, filters), *units))
            channels = 2 * filters
        self.decoder = FCN8Decoder([2 * filters for filters, _ in reversed(STAGES)], classes)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        x = max_pool(relu_(self.stem(input)), 3)
        maps: list[Tensor] = []
        for stage in self.stages:
            x = stage(x)
            maps.append(x)
        return self.decoder(*reversed(maps))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> ShuffleSegV2:  # noqa: ARG001
    """ShuffleSeg V2; any multiple of 64 as `height` and `width`."""
    return ShuffleSegV2(classes)
