"""ENet in PyTorch (Paszke et al., 2016), as the RFBSNet paper compares it."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from backends.torch_layers import (
    BatchNorm,
    Conv,
    ConvNorm,
    ConvTranspose,
    PReLU,
    max_pool,
    relu_,
    upsample_nearest,
)

MOMENTUM = 0.1
# The middle convolutions of stages 2 and 3: a dilation, or asymmetric (1×5, then 5×1).
MIDDLES = (1, 2, "asymmetric", 4, 1, 8, "asymmetric", 16)


class Stem(nn.Module):
    """Convolution and pooling side by side → normalisation → PReLU: 14 channels, half size."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv(1, 13, 3, stride=2)
        self.norm = BatchNorm(14, momentum=MOMENTUM)
        self.activation = PReLU(14)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → (n, 14, h/2, w/2)."""
        both = torch.cat([self.conv(input), max_pool(input)], 1)
        return self.activation(self.norm(both))


class Bottleneck(nn.Module):
    """Narrow → middle convolution → widen → spatial dropout, plus the input."""

    def __init__(
        self,
        channels: int,
        filters: int,
        middle: int | str = 1,
        *,
        down: bool = False,
        dropout: float,
    ) -> None:
        super().__init__()
        inner = filters // 4
        step = 2 if down else 1
        self.down = down
        self.added = filters - channels
        self.reduce = ConvNorm(channels, inner, step, stride=step, bias=False, momentum=MOMENTUM)
        self.activation1 = PReLU(inner)
        if isinstance(middle, int):
            self.middle = Conv(inner, inner, 3, dilation=middle)
        else:
            self.middle = nn.Sequential(
                Conv(inner, inner, (1, 5), bias=False), Conv(inner, inner, (5, 1))
            )
        self.norm = BatchNorm(inner, momentum=MOMENTUM)
        self.activation2 = PReLU(inner)
        self.expand = ConvNorm(inner, filters, 1, bias=False, momentum=MOMENTUM)
        self.dropout = nn.Dropout2d(dropout)
        self.activation3 = PReLU(filters)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h, w), or half of both sides when `down`."""
        x = self.activation1(self.reduce(input))
        x = self.activation2(self.norm(self.middle(x)))
        x = self.dropout(self.expand(x))
        if self.down:
            input = functional.pad(max_pool(input), (0, 0, 0, 0, 0, self.added))
        return self.activation3(x + input)


class DecoderBottleneck(nn.Module):
    """The bottleneck of the decoder, with ReLU; doubles both sides when `up`."""

    def __init__(self, channels: int, filters: int, *, up: bool) -> None:
        super().__init__()
        inner = filters // 4
        self.reduce = ConvNorm(channels, inner, 1, bias=False, momentum=MOMENTUM)
        self.middle = ConvTranspose(inner, inner, 3, stride=2) if up else Conv(inner, inner, 3)
        self.norm = BatchNorm(inner, momentum=MOMENTUM)
        self.expand = ConvNorm(inner, filters, 1, bias=False, momentum=MOMENTUM)
        self.shortcut = (
            ConvNorm(channels, filters, 1, bias=False, momentum=MOMENTUM) if up else None
        )

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h, w), or twice both sides when `up`."""
        x = relu_(self.reduce(input))
        x = self.expand(relu_(self.norm(self.middle(x))))
        if self.shortcut is not None:
            input = upsample_nearest(self.shortcut(input), 2)
        return relu_(x + input)


class ENet(nn.Module):
    """Stem, three stages at 1/4 and 1/8 of the size, decoder."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = Stem()
        self.stage1 = nn.Sequential(
            Bottleneck(14, 64, down=True, dropout=0.01),
            *(Bottleneck(64, 64, dropout=0.01) for _ in range(4)),
        )
        self.stage2 = nn.Sequential(
            Bottleneck(64, 128, down=True, dropout=0.1),
            *(Bottleneck(128, 128, middle, dropout=0.1) for middle in MIDDLES),
        )
        self.stage3 = nn.Sequential(
            *(Bottleneck(128, 128, middle, dropout=0.1) for middle in MIDDLES)
        )
        self.decoder = nn.Sequential(
            DecoderBottleneck(128, 64, up=True),
            DecoderBottleneck(64, 64, up=False),
            DecoderBottleneck(64, 64, up=False),
            DecoderBottleneck(64, 16, up=True),
            DecoderBottleneck(16, 16, up=False),
        )
        self.head = ConvTranspose(16, classes, 2, stride=2)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        x = self.stage3(self.stage2(self.stage1(self.stem(input))))
        return self.head(self.decoder(x))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> ENet:  # noqa: ARG001
    """ENet; any multiple of 64 as `height` and `width`."""
    return ENet(classes)
