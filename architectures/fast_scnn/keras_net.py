"""Fast-SCNN in Keras: source and deviations in `card.py`."""

from __future__ import annotations

import keras

from backends.keras_layers import (
    Tensor,
    add,
    average_pool,
    concatenate,
    conv,
    conv_norm,
    depthwise,
    dropout,
    image_input,
    norm,
    relu,
    resize_bilinear,
    resize_nearest,
    separable_conv,
    upsample_nearest,
)

EXPANSION = 6
DROPOUT = 0.3


def separable(x: Tensor, name: str, filters: int, stride: int = 1) -> Tensor:
    """Separable 3×3 convolution, batch normalisation, ReLU."""
    x = separable_conv(x, name, filters, stride=stride)
    return relu(norm(x, f"{name}.norm"))


def bottleneck(x: Tensor, name: str, filters: int, stride: int, *, residual: bool) -> Tensor:
    """Inverted bottleneck (MobileNetV2), with the input added if `residual`."""
    y = relu(conv_norm(x, f"{name}.expand", EXPANSION * x.shape[-1]))
    y = depthwise(y, f"{name}.depthwise", stride=stride)
    y = relu(norm(y, f"{name}.norm"))
    y = conv_norm(y, f"{name}.project", filters)
    return add(y, x) if residual else y


def pyramid(x: Tensor) -> Tensor:
    """Means over windows of three sizes, convolved and concatenated with the input."""
    height, width = x.shape[1:3]
    levels = [x]
    for number, share in enumerate((1, 2, 4)):
        window = (max(1, height * share // 8), max(1, width * share // 8))
        y = average_pool(x, window, padding="valid")
        y = relu(conv_norm(y, f"pyramid.{number}", 128, 3, stride=2))
        levels.append(resize_nearest(y, (height, width)))
    return concatenate(levels)


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> keras.Model:
    """Fast-SCNN on (n, height, width, 1) images, giving logits (n, height, width, classes)."""
    image = image_input(height, width)
    x = relu(conv_norm(image, "stem", 32, 3, stride=2))
    x = separable(x, "down.0", 48, 2)
    low = x = separable(x, "down.1", 64, 2)
    for group, (filters, first_stride) in enumerate(((64, 2), (96, 2), (128, 1))):
        for number in range(3):
            name, stride = f"bottlenecks.{group}.{number}", 1 if number else first_stride
            x = bottleneck(x, name, filters, stride, residual=number > 0)
    x = upsample_nearest(pyramid(x), 4)
    x = relu(norm(depthwise(x, "fusion.depthwise"), "fusion.depthwise_norm"))
    x = add(conv_norm(low, "fusion.low", 128), conv(x, "fusion.pointwise", 128))
    x = relu(norm(x, "fusion.norm"))
    for number in range(2):
        x = separable(x, f"classifier.{number}", 128)
    x = resize_bilinear(conv_norm(x, "head", classes), (height, width))
    return keras.Model(image, dropout(x, DROPOUT), name="fast_scnn")
