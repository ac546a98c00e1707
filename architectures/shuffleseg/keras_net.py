"""ShuffleSeg in Keras: source and deviations in `card.py`."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from backends.keras_layers import (
    Tensor,
    add,
    average_pool,
    channel_shuffle,
    concatenate,
    conv,
    conv_norm,
    conv_transpose,
    depthwise,
    image_input,
    max_pool,
    norm,
    relu,
)

GROUPS = 2
STAGES = ((200, 4), (400, 8), (800, 4))  # width and number of units


def stem(image: Tensor) -> Tensor:
    """A quarter of the size, 24 channels."""
    return max_pool(relu(conv(image, "stem", 24, 3, stride=2, bias=False)), 3, stride=2)


def unit(x: Tensor, name: str, filters: int, stride: int, groups: int) -> Tensor:
    """ShuffleNet unit: grouped 1×1, shuffle, depthwise 3×3, grouped 1×1."""
    y = relu(conv_norm(x, f"{name}.reduce", filters // 4, groups=groups, bias=False))
    y = depthwise(channel_shuffle(y, GROUPS), f"{name}.depthwise", stride=stride, bias=False)
    y = norm(y, f"{name}.norm")
    if stride == 1:
        return relu(add(conv_norm(y, f"{name}.expand", filters, groups=groups, bias=False), x))
    rest = filters - x.shape[-1]
    y = conv_norm(y, f"{name}.expand", rest, groups=groups, bias=False)
    return relu(concatenate([y, average_pool(x, 3, stride=2)]))


def fcn8_decoder(stages: Sequence[Tensor], classes: int) -> Tensor:
    """FCN-8s on the three stages, coarsest last; ShuffleSeg V2's decoder too."""
    fine, middle, coarse = stages
    x = conv(coarse, "decoder.scores.0", classes)
    x = conv_transpose(x, "decoder.upsamples.0", classes, 4, stride=2, bias=False)
    x = add(x, conv(middle, "decoder.scores.1", classes, bias=False))
    x = conv_transpose(x, "decoder.upsamples.1", classes, 4, stride=2, bias=False)
    x = add(x, conv(fine, "decoder.scores.2", classes, bias=False))
    return conv_transpose(x, "decoder.head", classes, 16, stride=8, bias=False)


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """ShuffleSeg on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    image = image_input(height, width)
    x = stem(image)
    outputs = []
    for stage, (filters, units) in enumerate(STAGES):
        for number in range(units):
            first = number == 0
            groups = 1 if first and stage == 0 else GROUPS
            x = unit(x, f"stages.{stage}.{number}", filters, 2 if first else 1, groups)
        outputs.append(x)
    return keras.Model(image, fcn8_decoder(outputs, classes), name="shuffleseg")
