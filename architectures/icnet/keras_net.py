"""ICNet in Keras: source and deviations in `card.py`."""

from __future__ import annotations

import keras

from backends.keras_layers import (
    Tensor,
    add,
    average_pool,
    conv,
    conv_norm,
    image_input,
    max_pool,
    norm,
    relu,
    resize_bilinear,
    upsample_bilinear,
)


def conv_relu_norm(
    x: Tensor, name: str, filters: int, kernel: int = 1, *, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Convolution `<name>.conv`, ReLU, then batch normalisation `<name>.norm`, in that order."""
    x = conv(x, f"{name}.conv", filters, kernel, stride=stride, dilation=dilation)
    return norm(relu(x), f"{name}.norm")


def bottleneck(
    x: Tensor, name: str, inner: int, filters: int, *, stride: int = 1, dilation: int = 1
) -> Tensor:
    """Residual bottleneck; the shortcut is projected if the width changes."""
    y = conv_relu_norm(x, f"{name}.reduce", inner, stride=stride)
    y = conv_relu_norm(y, f"{name}.middle", inner, 3, dilation=dilation)
    y = conv_norm(y, f"{name}.expand", filters)
    if x.shape[-1] != filters:
        x = conv_norm(x, f"{name}.shortcut", filters, stride=stride)
    return relu(add(y, x))


def pyramid(x: Tensor) -> Tensor:
    """The input plus its means over windows of four sizes."""
    height, width = x.shape[1:3]
    levels = [x]
    for share in (1, 2, 3, 4):
        window = (max(1, height // share), max(1, width // share))
        levels.append(resize_bilinear(average_pool(x, window, padding="valid"), (height, width)))
    return add(*levels)


def half_resolution(image: Tensor) -> Tensor:
    """The branch that sees half of the resolution."""
    x = resize_bilinear(image, (image.shape[1] // 2, image.shape[2] // 2))
    x = conv_relu_norm(x, "stem.0", 32, 3, stride=2)
    x = conv_relu_norm(x, "stem.1", 32, 3)
    x = conv_relu_norm(x, "stem.2", 64, 3)
    x = max_pool(x, 3, stride=2, padding="valid")
    for number in range(3):
        x = bottleneck(x, f"half_size.{number}", 32, 128)
    return bottleneck(x, "half_size.3", 64, 256, stride=2)


def quarter_resolution(half: Tensor) -> Tensor:
    """The deep branch, on half of the half-resolution branch's size, with its pyramid."""
    x = resize_bilinear(half, (half.shape[1] // 2, half.shape[2] // 2))
    number = 0
    for inner, filters, dilation, units in ((64, 256, 1, 3), (128, 512, 2, 6), (256, 1024, 4, 3)):
        for _ in range(units):
            x = bottleneck(x, f"quarter_size.{number}", inner, filters, dilation=dilation)
            number += 1
    return conv_relu_norm(pyramid(x), "pyramid", 256)


def full_resolution(image: Tensor) -> Tensor:
    """The shallow branch that sees the image itself."""
    x = image
    for number, filters in enumerate((32, 32, 64)):
        x = conv_relu_norm(x, f"full_size.{number}", filters, 3, stride=2)
    return x


def cascade(x: Tensor, name: str, finer: Tensor) -> Tensor:
    """Twice the size, added to a finer branch."""
    low = conv_norm(upsample_bilinear(x, 2), f"{name}.deep", 128, 3, dilation=2)
    return relu(add(low, conv_norm(finer, f"{name}.shallow", 128)))


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """ICNet on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    image = image_input(height, width)
    half = half_resolution(image)
    x = cascade(quarter_resolution(half), "cascade1", half)
    x = cascade(x, "cascade2", full_resolution(image))
    x = resize_bilinear(upsample_bilinear(x, 2), (height, width))
    return keras.Model(image, conv(x, "head", classes), name="icnet")
