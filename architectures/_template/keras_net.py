"""Template in Keras: layers and forward only."""

from __future__ import annotations

import keras

from backends.keras_layers import conv, conv_norm, conv_transpose, image_input, relu


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """Template on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    image = image_input(height, width)
    # Each layer is named as PyTorch's attribute path is: here `stem.conv` and `stem.norm`.
    x = relu(conv_norm(image, "stem", 8, 3, stride=2))
    x = relu(conv_norm(x, "middle", 8, 3))
    x = conv_transpose(x, "upsample", 8, 3, stride=2)
    return keras.Model(image, conv(x, "head", classes), name="template")
