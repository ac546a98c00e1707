"""DFANet in PyTorch (Li et al., CVPR 2019), as the RFBSNet paper compares it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from backends.torch_layers import (
    BatchNorm,
    Conv,
    ConvNorm,
    ConvNormReLU,
    SeparableConv,
    global_mean,
    relu_,
    upsample_bilinear,
)

# Filters and number of blocks of stages 2, 3 and 4.
STAGES = ((32, 4), (64, 6), (128, 4))


class SeparableNorm(SeparableConv):
    """Separable convolution 3×3 without bias → normalisation."""

    def __init__(self, channels: int, filters: int, *, stride: int = 1) -> None:
        super().__init__(channels, filters, stride=stride, bias=False)
        self.norm = BatchNorm(filters)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h / stride, w / stride)."""
        return self.norm(super().forward(input))


class SeparableResidual(nn.Module):
    """ReLU, then three separable convolutions plus a shortcut."""

    def __init__(self, channels: int, filters: int, stride: int) -> None:
        super().__init__()
        inner = filters // 4
        self.body = nn.ModuleList(
            (
                SeparableNorm(channels, inner),
                SeparableNorm(inner, inner),
                SeparableNorm(inner, filters, stride=stride),
            )
        )
        changes = stride != 1 or channels != filters
        self.shortcut = (
            ConvNorm(channels, filters, 1, stride=stride, bias=False) if changes else None
        )

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h / stride, w / stride)."""
        # Not in place: the input is also a skip connection.
        active = functional.relu(input)
        x = relu_(self.body[1](relu_(self.body[0](active))))
        return self.body[2](x) + (active if self.shortcut is None else self.shortcut(active))


class Attention(nn.Module):
    """Weighs the channels by what the whole map shows."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = ConvNormReLU(channels, channels, 1)
        self.second = ConvNorm(channels, channels, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → the same shape."""
        return self.second(self.first(global_mean(input))).sigmoid() * input


class Backbone(nn.Module):
    """Stages 2 to 4 and attention; each stage also sees what `channels` counts beside it."""

    def __init__(self, channels: Sequence[int]) -> None:
        super().__init__()
        self.stages = nn.ModuleList(
            nn.Sequential(
                SeparableResidual(width, filters, 2),
                *(SeparableResidual(filters, filters, 1) for _ in range(count - 1)),
            )
            for width, (filters, count) in zip(channels, STAGES, strict=True)
        )
        self.attention = Attention(STAGES[-1][0])

    def forward(self, input: Tensor, beside: Sequence[Tensor] = ()) -> list[Tensor]:
        """Outputs of stages 2, 3, 4 and the attended one.

        `beside`: maps of the backbone before, concatenated ahead of the input of stages 3 and 4.
        """
        outputs: list[Tensor] = []
        x = input
        for index, stage in enumerate(self.stages):
            if beside and index:
                x = torch.cat([beside[index - 1], x], 1)
            x = stage(x)
            outputs.append(x)
        return [*outputs, self.attention(x)]


class DFANet(nn.Module):
    """Three backbones in a row and one decoder over all of them."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        f2, f3, f4 = (filters for filters, _ in STAGES)
        self.stem = ConvNormReLU(1, 8, 5, stride=2, bias=False)
        self.backbones = nn.ModuleList(
            (
                Backbone((8, f2, f3)),
                Backbone((f2 + f4, f3 + f2, f4 + f3)),
                Backbone((f2 + f4, f3 + f2, f4 + f3)),
            )
        )
        self.low = nn.ModuleList(ConvNormReLU(f2, 32, 1, bias=False) for _ in range(3))
        self.front = ConvNormReLU(32, 32, 1, bias=False)
        self.high = nn.ModuleList(ConvNormReLU(f4, 32, 1, bias=False) for _ in range(3))
        self.classifier = ConvNormReLU(32, 2 * classes, 1, bias=False)
        self.head = Conv(2 * classes, classes, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        maps = [self.backbones[0](self.stem(input))]
        for backbone in list(self.backbones)[1:]:
            s2, s3, s4, attended = maps[-1]
            maps.append(backbone(torch.cat([s2, upsample_bilinear(attended, 4)], 1), (s3, s4)))
        a, b, c = maps
        front = self.low[0](a[0])
        front = front + upsample_bilinear(self.low[1](b[0]), 2)
        front = front + upsample_bilinear(self.low[2](c[0]), 4)
        x = self.front(front)
        for factor, project, backbone in zip((4, 8, 16), self.high, maps, strict=True):
            x = x + upsample_bilinear(project(backbone[3]), factor)
        return self.head(upsample_bilinear(self.classifier(x), 4))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> DFANet:  # noqa: ARG001
    """DFANet; any multiple of 64 as `height` and `width`."""
    return DFANet(classes)
