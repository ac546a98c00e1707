"""MONAI's BasicUNet as it is."""

from monai.networks.nets import BasicUNet


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> BasicUNet:  # noqa: ARG001
    """BasicUNet; any multiple of 16 as `height` and `width`."""
    return BasicUNet(spatial_dims=2, in_channels=1, out_channels=classes)
