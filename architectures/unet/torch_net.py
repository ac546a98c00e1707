"""U-Net in PyTorch (Ronneberger et al., MICCAI 2015), as the RFBSNet paper compares it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from backends.torch_layers import Conv, ConvTranspose, max_pool, relu_


class ConvBlock(nn.Module):
    """Twice: convolution 3×3 → ReLU."""

    def __init__(self, channels: int, filters: int) -> None:
        super().__init__()
        self.conv1 = Conv(channels, filters, 3)
        self.conv2 = Conv(filters, filters, 3)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h, w)."""
        return relu_(self.conv2(relu_(self.conv1(input))))


class DecoderStage(nn.Module):
    """Upsample, concatenate [upsampled, skip], dropout, block."""

    def __init__(self, channels: int, filters: int, dropout: float) -> None:
        super().__init__()
        self.upsample = ConvTranspose(channels, filters, 3, stride=2)
        self.dropout = nn.Dropout(dropout)
        self.block = ConvBlock(2 * filters, filters)

    def forward(self, input: Tensor, skip: Tensor) -> Tensor:
        """(n, channels, h, w) and the skip (n, filters, 2h, 2w) → (n, filters, 2h, 2w)."""
        return self.block(self.dropout(torch.cat([self.upsample(input), skip], 1)))


class UNetTrunk(nn.Module):
    """The U-Net without its head: `filters` going down, `bottleneck`, `filters` going up."""

    def __init__(
        self, channels: int, filters: Sequence[int], bottleneck: int, dropout: float = 0.3
    ) -> None:
        super().__init__()
        above = [channels, *filters[:-1]]
        self.encoder = nn.ModuleList(map(ConvBlock, above, filters))
        self.bottleneck = ConvBlock(filters[-1], bottleneck)
        rising = list(reversed(filters))
        below = [bottleneck, *rising[:-1]]
        self.decoder = nn.ModuleList(
            DecoderStage(wide, narrow, dropout) for wide, narrow in zip(below, rising, strict=True)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters[0], h, w)."""
        skips: list[Tensor] = []
        x = input
        for block in self.encoder:
            skips.append(block(x))
            x = self.dropout(max_pool(skips[-1]))
        x = self.bottleneck(x)
        for stage in self.decoder:
            x = stage(x, skips.pop())
        return x


class UNet(UNetTrunk):
    """U-Net with 64 to 1024 channels."""

    def __init__(self, classes: int) -> None:
        super().__init__(1, (64, 128, 256, 512), bottleneck=1024)
        self.head = Conv(64, classes, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        return self.head(super().forward(input))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> UNet:  # noqa: ARG001
    """U-Net; any multiple of 64 as `height` and `width`."""
    return UNet(classes)
