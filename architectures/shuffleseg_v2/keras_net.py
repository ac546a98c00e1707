"""ShuffleSeg V2 in Keras: source and deviations in `card.py`."""

from __future__ import annotations

import keras

from architectures.shuffleseg.keras_net import fcn8_decoder, stem
from backends.keras_layers import (
    Tensor,
    channel_shuffle,
    concatenate,
    conv_norm,
    depthwise,
    image_input,
    norm,
    relu,
    split_channels,
)

STAGES = ((116, 4), (232, 8), (464, 4))  # width of the working branch and number of units


def work(x: Tensor, name: str, filters: int, stride: int) -> Tensor:
    """The working branch: 1×1, depthwise 3×3, 1×1, all `filters` wide."""
    x = relu(conv_norm(x, f"{name}.expand", filters))
    x = norm(depthwise(x, f"{name}.depthwise", stride=stride), f"{name}.norm")
    return relu(conv_norm(x, f"{name}.project", filters))


def down_unit(x: Tensor, name: str, filters: int) -> Tensor:
    """Both branches work, at stride 2."""
    y = norm(depthwise(x, f"{name}.shortcut.depthwise", stride=2), f"{name}.shortcut.norm")
    y = relu(conv_norm(y, f"{name}.shortcut.project", filters))
    return channel_shuffle(concatenate([work(x, f"{name}.work", filters, 2), y]), 2)


def unit(x: Tensor, name: str, filters: int) -> Tensor:
    """Half of the channels pass, the other half is worked on."""
    passed, worked = split_channels(x)
    return channel_shuffle(concatenate([work(worked, f"{name}.work", filters, 1), passed]), 2)


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """ShuffleSeg V2 on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    image = image_input(height, width)
    x = stem(image)
    outputs = []
    for stage, (filters, units) in enumerate(STAGES):
        x = down_unit(x, f"stages.{stage}.0", filters)
        for number in range(1, units):
            x = unit(x, f"stages.{stage}.{number}", filters)
        outputs.append(x)
    return keras.Model(image, fcn8_decoder(outputs, classes), name="shuffleseg_v2")
