"""U-Net of segmentation_models_pytorch as it is."""

from segmentation_models_pytorch import Unet


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> Unet:  # noqa: ARG001
    """U-Net; any multiple of 32 as `height` and `width`."""
    return Unet("resnet18", encoder_weights=None, in_channels=1, classes=classes)
