"""ICNet in PyTorch (Zhao et al., ECCV 2018), as the RFBSNet paper compares it."""

from __future__ import annotations

from torch import Tensor, nn

from backends.torch_layers import (
    Conv,
    ConvNorm,
    average_pool_valid,
    max_pool_valid,
    relu_,
    resize_bilinear,
    upsample_bilinear,
)


class ConvReLUNorm(ConvNorm):
    """Convolution → ReLU → normalisation, in this order."""

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, ceil(h / stride), ceil(w / stride))."""
        return self.norm(relu_(self.conv(input)))


class Bottleneck(nn.Module):
    """1×1 (strided) → 3×3 (dilated) → 1×1, plus the input."""

    def __init__(
        self, channels: int, inner: int, filters: int, *, stride: int = 1, dilation: int = 1
    ) -> None:
        super().__init__()
        self.reduce = ConvReLUNorm(channels, inner, 1, stride=stride)
        self.middle = ConvReLUNorm(inner, inner, 3, dilation=dilation)
        self.expand = ConvNorm(inner, filters, 1)
        self.shortcut = (
            ConvNorm(channels, filters, 1, stride=stride) if channels != filters else None
        )

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, ceil(h / stride), ceil(w / stride))."""
        x = self.expand(self.middle(self.reduce(input)))
        return relu_(x + (input if self.shortcut is None else self.shortcut(input)))


def _blocks(
    channels: int, inner: int, filters: int, count: int, dilation: int = 1
) -> list[Bottleneck]:
    widths = [channels, *[filters] * (count - 1)]
    return [Bottleneck(width, inner, filters, dilation=dilation) for width in widths]


class Cascade(nn.Module):
    """Doubles the deep map and adds the shallow one of that size."""

    def __init__(self, deep: int, shallow: int) -> None:
        super().__init__()
        self.deep = ConvNorm(deep, 128, 3, dilation=2)
        self.shallow = ConvNorm(shallow, 128, 1)

    def forward(self, deep: Tensor, shallow: Tensor) -> Tensor:
        """(n, deep, h, w) and (n, shallow, 2h, 2w) → (n, 128, 2h, 2w)."""
        return relu_(self.deep(upsample_bilinear(deep, 2)) + self.shallow(shallow))


def pyramid(input: Tensor) -> Tensor:
    """(n, c, h, w) plus its means over windows of the map, its half, third and quarter."""
    height, width = input.shape[2:]
    total = input
    for part in (1, 2, 3, 4):
        pooled = average_pool_valid(input, (max(1, height // part), max(1, width // part)))
        total = total + resize_bilinear(pooled, (height, width))
    return total


class ICNet(nn.Module):
    """Branches at full, half and quarter size, joined by two cascades."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            ConvReLUNorm(1, 32, 3, stride=2), ConvReLUNorm(32, 32, 3), ConvReLUNorm(32, 64, 3)
        )
        self.half_size = nn.Sequential(*_blocks(64, 32, 128, 3), Bottleneck(128, 64, 256, stride=2))
        self.quarter_size = nn.Sequential(
            *_blocks(256, 64, 256, 3),
            *_blocks(256, 128, 512, 6, dilation=2),
            *_blocks(512, 256, 1024, 3, dilation=4),
        )
        self.pyramid = ConvReLUNorm(1024, 256, 1)
        self.cascade1 = Cascade(256, 256)
        self.full_size = nn.Sequential(
            ConvReLUNorm(1, 32, 3, stride=2),
            ConvReLUNorm(32, 32, 3, stride=2),
            ConvReLUNorm(32, 64, 3, stride=2),
        )
        self.cascade2 = Cascade(128, 64)
        self.head = Conv(128, classes, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        height, width = input.shape[2:]
        x = self.stem(resize_bilinear(input, (height // 2, width // 2)))
        half = self.half_size(max_pool_valid(x, 3, 2))
        quarter = resize_bilinear(half, (half.shape[2] // 2, half.shape[3] // 2))
        x = self.pyramid(pyramid(self.quarter_size(quarter)))
        x = self.cascade2(self.cascade1(x, half), self.full_size(input))
        return self.head(resize_bilinear(upsample_bilinear(x, 2), (height, width)))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> ICNet:  # noqa: ARG001
    """ICNet; any multiple of 64 as `height` and `width`."""
    return ICNet(classes)
