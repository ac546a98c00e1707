"""ENet in Keras: source and deviations in `card.py`."""

from __future__ import annotations

import keras

from backends.keras_layers import (
    Tensor,
    add,
    concatenate,
    conv,
    conv_norm,
    conv_transpose,
    image_input,
    max_pool,
    norm,
    pad_channels,
    prelu,
    relu,
    spatial_dropout,
    upsample_nearest,
)

MOMENTUM = 0.1
# The middle convolutions of stages 2 and 3: a dilation, or asymmetric (1×5, then 5×1).
MIDDLES = (1, 2, "asymmetric", 4, 1, 8, "asymmetric", 16)
DECODER = ((64, True), (64, False), (64, False), (16, True), (16, False))  # filters, doubles size


def narrow_or_widen(x: Tensor, name: str, filters: int, step: int = 1) -> Tensor:
    """Convolution to another width without bias, then batch normalisation."""
    return conv_norm(x, name, filters, step, stride=step, bias=False, momentum=MOMENTUM)


def bottleneck(
    x: Tensor,
    name: str,
    filters: int,
    drop: float,
    middle: int | str = 1,
    *,
    down: bool = False,
) -> Tensor:
    """Project, convolve and expand beside the input itself; half the size if `down`."""
    inner = filters // 4
    step = 2 if down else 1
    y = narrow_or_widen(x, f"{name}.reduce", inner, step)
    y = prelu(y, f"{name}.activation1")
    if isinstance(middle, int):
        y = conv(y, f"{name}.middle", inner, 3, dilation=middle)
    else:
        y = conv(y, f"{name}.middle.0", inner, (1, 5), bias=False)
        y = conv(y, f"{name}.middle.1", inner, (5, 1))
    y = prelu(norm(y, f"{name}.norm", MOMENTUM), f"{name}.activation2")
    y = spatial_dropout(narrow_or_widen(y, f"{name}.expand", filters), drop)
    skip = pad_channels(max_pool(x), filters) if down else x
    return prelu(add(y, skip), f"{name}.activation3")


def decoder(x: Tensor, name: str, filters: int, *, up: bool) -> Tensor:
    """The bottleneck of the decoder: twice the size if `up`."""
    inner = filters // 4
    y = relu(narrow_or_widen(x, f"{name}.reduce", inner))
    if up:
        y = conv_transpose(y, f"{name}.middle", inner, 3, stride=2)
    else:
        y = conv(y, f"{name}.middle", inner, 3)
    y = relu(norm(y, f"{name}.norm", MOMENTUM))
    y = narrow_or_widen(y, f"{name}.expand", filters)
    if up:
        x = upsample_nearest(narrow_or_widen(x, f"{name}.shortcut", filters), 2)
    return relu(add(y, x))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """ENet on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    image = image_input(height, width)
    x = concatenate([conv(image, "stem.conv", 13, 3, stride=2), max_pool(image)])
    x = prelu(norm(x, "stem.norm", MOMENTUM), "stem.activation")
    x = bottleneck(x, "stage1.0", 64, 0.01, down=True)
    for number in range(1, 5):
        x = bottleneck(x, f"stage1.{number}", 64, 0.01)
    x = bottleneck(x, "stage2.0", 128, 0.1, down=True)
    for stage, first in (("stage2", 1), ("stage3", 0)):
        for number, middle in enumerate(MIDDLES, first):
            x = bottleneck(x, f"{stage}.{number}", 128, 0.1, middle)
    for number, (filters, up) in enumerate(DECODER):
        x = decoder(x, f"decoder.{number}", filters, up=up)
    return keras.Model(image, conv_transpose(x, "head", classes, 2, stride=2), name="enet")
