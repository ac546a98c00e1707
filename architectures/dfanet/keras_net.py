"""DFANet in Keras: source and deviations in `card.py`."""

from __future__ import annotations

from collections.abc import Sequence

import keras

from backends.keras_layers import (
    Tensor,
    add,
    concatenate,
    conv,
    conv_norm,
    global_mean,
    image_input,
    multiply,
    norm,
    relu,
    separable_conv,
    sigmoid,
    upsample_bilinear,
)

STAGES = ((32, 4), (64, 6), (128, 4))  # width and number of units of stages 2, 3 and 4


def unit(x: Tensor, name: str, filters: int, stride: int) -> Tensor:
    """Residual unit of three separable convolutions, after a ReLU that the shortcut shares."""
    x = relu(x)
    y = x
    steps = ((filters // 4, 1), (filters // 4, 1), (filters, stride))
    for number, (width, step) in enumerate(steps):
        y = relu(y) if number else y
        y = separable_conv(y, f"{name}.body.{number}", width, stride=step, bias=False)
        y = norm(y, f"{name}.body.{number}.norm")
    if stride > 1 or x.shape[-1] != filters:
        x = conv_norm(x, f"{name}.shortcut", filters, stride=stride, bias=False)
    return add(y, x)


def stage(x: Tensor, name: str, filters: int, units: int) -> Tensor:
    """`units` residual units, the first at stride 2."""
    for number in range(units):
        x = unit(x, f"{name}.{number}", filters, 2 if number == 0 else 1)
    return x


def attend(x: Tensor, name: str) -> Tensor:
    """Weigh the channels by what their means say."""
    width = x.shape[-1]
    weight = relu(conv_norm(global_mean(x), f"{name}.first", width))
    return multiply(x, sigmoid(conv_norm(weight, f"{name}.second", width)))


def backbone(x: Tensor, name: str, beside: Sequence[Tensor] = ()) -> list[Tensor]:
    """Outputs of stages 2, 3, 4 and of the attention, each stage fed with `beside` too."""
    outputs = []
    for number, (filters, units) in enumerate(STAGES):
        if beside:
            x = concatenate([beside[number], x])
        x = stage(x, f"{name}.stages.{number}", filters, units)
        outputs.append(x)
    return [*outputs, attend(x, f"{name}.attention")]


def project(x: Tensor, name: str) -> Tensor:
    """1×1 convolution to 32 channels, batch normalisation, ReLU."""
    return relu(conv_norm(x, name, 32, bias=False))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """DFANet on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    image = image_input(height, width)
    stem = relu(conv_norm(image, "stem", 8, 5, stride=2, bias=False))
    a = backbone(stem, "backbones.0")
    b = backbone(upsample_bilinear(a[-1], 4), "backbones.1", a)
    c = backbone(upsample_bilinear(b[-1], 4), "backbones.2", b)
    front = add(
        project(a[0], "low.0"),
        upsample_bilinear(project(b[0], "low.1"), 2),
        upsample_bilinear(project(c[0], "low.2"), 4),
    )
    x = add(
        project(front, "front"),
        upsample_bilinear(project(a[-1], "high.0"), 4),
        upsample_bilinear(project(b[-1], "high.1"), 8),
        upsample_bilinear(project(c[-1], "high.2"), 16),
    )
    x = relu(conv_norm(x, "classifier", 2 * classes, bias=False))
    return keras.Model(image, conv(upsample_bilinear(x, 4), "head", classes), name="dfanet")
