"""RFBSNet in Keras: source and deviations in `card.py`."""

from __future__ import annotations

import keras

from architectures.unet.keras_net import unet_trunk
from backends.keras_layers import (
    add,
    concatenate,
    conv,
    conv_transpose,
    image_input,
    max_pool,
    relu,
)


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """RFBSNet on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    image = image_input(height, width)
    stem = relu(conv(image, "stem", 15, 3, stride=2))
    half = concatenate([stem, max_pool(image)])
    deep = unet_trunk(half, (32, 64, 128), 256, prefix="deep.")
    shallow = relu(conv(stem, "shallow", 32))
    x = conv_transpose(add(deep, shallow), "upsample", 32, 3, stride=2)
    return keras.Model(image, conv(x, "head", classes), name="rfbsnet")
