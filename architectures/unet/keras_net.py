"""U-Net in Keras: source and deviations in `card.py`."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from backends.keras_layers import (
    Tensor,
    concatenate,
    conv,
    conv_transpose,
    dropout,
    image_input,
    max_pool,
    relu,
)

DROPOUT = 0.3


def conv_block(x: Tensor, name: str, filters: int) -> Tensor:
    """Two 3×3 convolutions, each followed by ReLU."""
    x = relu(conv(x, f"{name}.conv1", filters, 3))
    return relu(conv(x, f"{name}.conv2", filters, 3))


def unet_trunk(x: Tensor, widths: Sequence[int], bottleneck: int, prefix: str = "") -> Tensor:
    """U-Net without its head; (n, h, w, c) to (n, h, w, widths[0]). RFBSNet's deep branch too."""
    skips = []
    for level, width in enumerate(widths):
        x = conv_block(x, f"{prefix}encoder.{level}", width)
        skips.append(x)
        x = dropout(max_pool(x), DROPOUT)
    x = conv_block(x, f"{prefix}bottleneck", bottleneck)
    for level, width in enumerate(reversed(widths)):
        name = f"{prefix}decoder.{level}"
        x = conv_transpose(x, f"{name}.upsample", width, 3, stride=2)
        x = dropout(concatenate([x, skips.pop()]), DROPOUT)
        x = conv_block(x, f"{name}.block", width)
    return x


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """U-Net on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    image = image_input(height, width)
    x = unet_trunk(image, (64, 128, 256, 512), 1024)
    return keras.Model(image, conv(x, "head", classes), name="unet")
