"""Fast-SCNN in PyTorch (Poudel et al., BMVC 2019), as the RFBSNet paper compares it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from backends.torch_layers import (
    BatchNorm,
    Conv,
    ConvNorm,
    ConvNormReLU,
    DepthwiseConv,
    SeparableConv,
    average_pool_valid,
    relu_,
    resize_bilinear,
    resize_nearest,
    upsample_nearest,
)

EXPANSION = 6
# The pyramid pools windows of b/8 of the map.
PYRAMID = (1, 2, 4)


class SeparableNormReLU(SeparableConv):
    """Separable convolution 3×3 → normalisation → ReLU."""

    def __init__(self, channels: int, filters: int, *, stride: int = 1) -> None:
        super().__init__(channels, filters, stride=stride)
        self.norm = BatchNorm(filters)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h / stride, w / stride)."""
        return relu_(self.norm(super().forward(input)))


class Bottleneck(nn.Module):
    """Inverted bottleneck: widen six times, depthwise 3×3, narrow; plus the input if `residual`."""

    def __init__(self, channels: int, filters: int, *, stride: int, residual: bool) -> None:
        super().__init__()
        wide = EXPANSION * channels
        self.residual = residual
        self.expand = ConvNormReLU(channels, wide, 1)
        self.depthwise = DepthwiseConv(wide, 3, stride=stride)
        self.norm = BatchNorm(wide)
        self.project = ConvNorm(wide, filters, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, h / stride, w / stride)."""
        x = self.project(relu_(self.norm(self.depthwise(self.expand(input)))))
        return x + input if self.residual else x


def _group(channels: int, filters: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        Bottleneck(channels, filters, stride=stride, residual=False),
        *(Bottleneck(filters, filters, stride=1, residual=True) for _ in range(2)),
    )


class Fusion(nn.Module):
    """Adds the detailed map and the upsampled deep one."""

    def __init__(self) -> None:
        super().__init__()
        self.low = ConvNorm(64, 128, 1)
        self.depthwise = DepthwiseConv(512, 3)
        self.depthwise_norm = BatchNorm(512)
        self.pointwise = Conv(512, 128, 1)
        self.norm = BatchNorm(128)

    def forward(self, low: Tensor, deep: Tensor) -> Tensor:
        """(n, 64, 4h, 4w) and (n, 512, h, w) → (n, 128, 4h, 4w)."""
        x = self.depthwise(upsample_nearest(deep, 4))
        x = self.pointwise(relu_(self.depthwise_norm(x)))
        return relu_(self.norm(self.low(low) + x))


class FastSCNN(nn.Module):
    """Learned downsampling, bottlenecks, pyramid, fusion, classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = ConvNormReLU(1, 32, 3, stride=2)
        self.down = nn.Sequential(
            SeparableNormReLU(32, 48, stride=2), SeparableNormReLU(48, 64, stride=2)
        )
        self.bottlenecks = nn.Sequential(_group(64, 64, 2), _group(64, 96, 2), _group(96, 128, 1))
        self.pyramid = nn.ModuleList(ConvNormReLU(128, 128, 3, stride=2) for _ in PYRAMID)
        self.fusion = Fusion()
        self.classifier = nn.Sequential(SeparableNormReLU(128, 128), SeparableNormReLU(128, 128))
        self.head = ConvNorm(128, classes, 1)
        self.dropout = nn.Dropout(0.3)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        low = self.down(self.stem(input))
        x = self.bottlenecks(low)
        height, width = x.shape[2:]
        levels = [x]
        for share, conv in zip(PYRAMID, self.pyramid, strict=True):
            window = (max(1, height * share // 8), max(1, width * share // 8))
            levels.append(resize_nearest(conv(average_pool_valid(x, window)), (height, width)))
        x = self.classifier(self.fusion(low, torch.cat(levels, 1)))
        logits = resize_bilinear(self.head(x), (input.shape[2], input.shape[3]))
        return self.dropout(logits)


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> FastSCNN:  # noqa: ARG001
    """Fast-SCNN; any multiple of 64 as `height` and `width`."""
    return FastSCNN(classes)
