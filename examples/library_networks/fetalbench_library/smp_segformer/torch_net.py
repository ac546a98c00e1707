"""SegFormer of segmentation_models_pytorch as it is."""

from segmentation_models_pytorch import Segformer


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> Segformer:  # noqa: ARG001
    """SegFormer; any multiple of 32 as `height` and `width`."""
    return Segformer("mit_b0", encoder_weights=None, in_channels=1, classes=classes)
