"""RFBSNet in PyTorch: a small U-Net at half size beside a shallow branch."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from architectures.unet.torch_net import UNetTrunk
from backends.torch_layers import Conv, ConvTranspose, max_pool, relu_


class RFBSNet(nn.Module):
    """Input downsampling, deep and shallow branch, sum, classifier."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = Conv(1, 15, 3, stride=2)
        self.deep = UNetTrunk(16, (32, 64, 128), bottleneck=256)
        self.shallow = Conv(15, 32, 1)
        self.upsample = ConvTranspose(32, 32, 3, stride=2)
        self.head = Conv(32, classes, 1)

    def forward(self, input: Tensor) -> Tensor:
        """(n, 1, h, w) → logits (n, classes, h, w)."""
        stem = relu_(self.stem(input))
        deep = self.deep(torch.cat([stem, max_pool(input)], 1))
        shallow = relu_(self.shallow(stem))
        return self.head(self.upsample(deep + shallow))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> RFBSNet:  # noqa: ARG001
    """RFBSNet; any multiple of 64 as `height` and `width`."""
    return RFBSNet(classes)
