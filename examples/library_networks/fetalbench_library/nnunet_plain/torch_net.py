"""nnU-Net's PlainConvUNet as it is."""

from dynamic_network_architectures.architectures.unet import PlainConvUNet
from torch import nn


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> PlainConvUNet:  # noqa: ARG001
    """PlainConvUNet of four stages; any multiple of 8 as `height` and `width`."""
    stages = (4, (16, 32, 64, 64), nn.Conv2d, 3, (1, 2, 2, 2), 2)
    norm = {"norm_op": nn.InstanceNorm2d, "norm_op_kwargs": {"eps": 1e-5, "affine": True}}
    return PlainConvUNet(1, *stages, classes, 2, conv_bias=True, nonlin=nn.LeakyReLU, **norm)
