"""SegNet in Keras: source and deviations in `card.py`."""

from __future__ import annotations

import keras

from backends.keras_layers import (
    conv,
    conv_norm,
    image_input,
    max_pool_with_places,
    max_unpool,
    relu,
)

ENCODER = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))
DECODER = ((512, 512, 512), (512, 512, 256), (256, 256, 128), (128, 64), (64,))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """SegNet on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    x = image = image_input(height, width)
    places = []
    for level, group in enumerate(ENCODER):
        for number, filters in enumerate(group):
            x = relu(conv_norm(x, f"encoder.{level}.{number}", filters, 3))
        x, where = max_pool_with_places(x)
        places.append(where)
    for level, group in enumerate(DECODER):
        x = max_unpool(x, places.pop())
        for number, filters in enumerate(group):
            x = relu(conv_norm(x, f"decoder.{level}.{number}", filters, 3))
    return keras.Model(image, conv(x, "head", classes), name="segnet")
