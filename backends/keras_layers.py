"""Layers of the Keras networks, channels-last, under the one rule for padding and resizing.

Each function takes a symbolic tensor (n, height, width, channels) and the canonical name of the
layer if it has weights, and returns the layer's output. Weights are created as zeros and ones,
because the experiment loads drawn values afterwards and a drawn start costs seconds per network.
Padding is TensorFlow's SAME unless `valid` is given; batch normalisation keeps the biased variance.
`backends.keras_graph` counts these layers by their class.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal

import keras

from backends.keras_engine import layer_name
from backends.keras_layer_classes import (
    AveragePool,
    BatchNorm,
    ChannelShuffle,
    GroupedConv,
    MaxPoolWithPlaces,
    MaxUnpool,
    PadChannels,
    Pair,
    Resize,
    SplitChannels,
    Tensor,
)

Padding = Literal["same", "valid"]


_numbers: Counter[str] = Counter()


def _number(kind: str) -> str:
    """Name for a layer without weights: its kind and a number within the network.

    Keras would number through the process. TensorFlow sums the gradients of a tensor in the order
    of names, so that the second network of a process would differ from the first in the last bit.
    """
    _numbers[kind] += 1
    return f"{kind}_{_numbers[kind]}"


def image_input(height: int, width: int) -> Tensor:
    """The one input of a network, made first: (n, height, width, 1) float32."""
    _numbers.clear()
    return keras.Input((height, width, 1), name="image")


def conv(
    x: Tensor,
    name: str,
    filters: int,
    kernel: int | Pair = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
) -> Tensor:
    """SAME convolution, without activation."""
    layer = keras.layers.Conv2D if groups == 1 else GroupedConv
    return layer(
        filters,
        kernel,
        strides=stride,
        dilation_rate=dilation,
        groups=groups,
        padding="same",
        use_bias=bias,
        kernel_initializer="zeros",
        name=layer_name(name),
    )(x)


def conv_transpose(
    x: Tensor, name: str, filters: int, kernel: int, *, stride: int, bias: bool = True
) -> Tensor:
    """SAME transposed convolution: the output is `stride` times as high and wide."""
    return keras.layers.Conv2DTranspose(
        filters,
        kernel,
        strides=stride,
        padding="same",
        use_bias=bias,
        kernel_initializer="zeros",
        name=layer_name(name),
    )(x)


def depthwise(
    x: Tensor, name: str, kernel: int = 3, *, stride: int = 1, bias: bool = True
) -> Tensor:
    """SAME depthwise convolution, one filter per channel."""
    return keras.layers.DepthwiseConv2D(
        kernel,
        strides=stride,
        padding="same",
        use_bias=bias,
        depthwise_initializer="zeros",
        name=layer_name(name),
    )(x)


def norm(x: Tensor, name: str, momentum: float = 0.99) -> Tensor:
    """Batch normalisation; running = momentum · running + (1 - momentum) · batch."""
    return BatchNorm(momentum=momentum, epsilon=1e-3, name=layer_name(name))(x)


def conv_norm(
    x: Tensor,
    name: str,
    filters: int,
    kernel: int | Pair = 1,
    *,
    stride: int = 1,
    dilation: int = 1,
    groups: int = 1,
    bias: bool = True,
    momentum: float = 0.99,
) -> Tensor:
    """Convolution `<name>.conv`, then batch normalisation `<name>.norm`."""
    x = conv(
        x,
        f"{name}.conv",
        filters,
        kernel,
        stride=stride,
        dilation=dilation,
        groups=groups,
        bias=bias,
    )
    return norm(x, f"{name}.norm", momentum)


def separable_conv(
    x: Tensor, name: str, filters: int, kernel: int = 3, *, stride: int = 1, bias: bool = True
) -> Tensor:
    """Depthwise convolution without bias, directly followed by a pointwise one."""
    x = depthwise(x, f"{name}.depthwise", kernel, stride=stride, bias=False)
    return conv(x, f"{name}.pointwise", filters, bias=bias)


def prelu(x: Tensor, name: str) -> Tensor:
    """Parametric ReLU with one slope per channel, starting at 0."""
    return keras.layers.PReLU(shared_axes=(1, 2), name=layer_name(name))(x)


def relu(x: Tensor) -> Tensor:
    """max(x, 0)."""
    return keras.layers.Activation("relu", name=_number("relu"))(x)


def sigmoid(x: Tensor) -> Tensor:
    """1 / (1 + exp(-x))."""
    return keras.layers.Activation("sigmoid", name=_number("sigmoid"))(x)


def add(*tensors: Tensor) -> Tensor:
    """Sum of tensors of one shape, or of shapes that broadcast."""
    return keras.layers.Add(name=_number("add"))(tensors)


def multiply(*tensors: Tensor) -> Tensor:
    """Product of tensors of one shape, or of shapes that broadcast."""
    return keras.layers.Multiply(name=_number("multiply"))(tensors)


def concatenate(tensors: Sequence[Tensor]) -> Tensor:
    """Channels of all tensors, in the order given."""
    return keras.layers.Concatenate(name=_number("concatenate"))(list(tensors))


def max_pool(
    x: Tensor, size: int = 2, *, stride: int | None = None, padding: Padding = "same"
) -> Tensor:
    """Max pooling, padded with -∞; the stride is the size by default."""
    return keras.layers.MaxPooling2D(
        size, strides=stride, padding=padding, name=_number("max_pool")
    )(x)


def average_pool(
    x: Tensor, size: int | Pair, *, stride: int | None = None, padding: Padding = "same"
) -> Tensor:
    """Average pooling that leaves the padding out of the mean."""
    return AveragePool(size, strides=stride, padding=padding, name=_number("average_pool"))(x)


def global_mean(x: Tensor) -> Tensor:
    """(n, h, w, c) to (n, 1, 1, c)."""
    return keras.layers.GlobalAveragePooling2D(keepdims=True, name=_number("global_mean"))(x)


def max_pool_with_places(x: Tensor) -> tuple[Tensor, Tensor]:
    """2×2 maxima and their places, for `max_unpool`."""
    return MaxPoolWithPlaces(name=_number("max_pool_with_places"))(x)


def max_unpool(x: Tensor, places: Tensor) -> Tensor:
    """(n, h, w, c) values put back at their places in (n, 2h, 2w, c)."""
    return MaxUnpool(name=_number("max_unpool"))(x, places)


def upsample_nearest(x: Tensor, factor: int) -> Tensor:
    """Each pixel repeated `factor` times along both axes."""
    return resize_nearest(x, (x.shape[1] * factor, x.shape[2] * factor))


def resize_nearest(x: Tensor, size: Pair) -> Tensor:
    """Nearest neighbour to (height, width)."""
    return Resize(size, "nearest", name=_number("resize"))(x)


def resize_bilinear(x: Tensor, size: Pair) -> Tensor:
    """Bilinear to (height, width)."""
    return Resize(size, "bilinear", name=_number("resize"))(x)


def upsample_bilinear(x: Tensor, factor: int) -> Tensor:
    """Bilinear to `factor` times the height and width."""
    return resize_bilinear(x, (x.shape[1] * factor, x.shape[2] * factor))


def dropout(x: Tensor, rate: float) -> Tensor:
    """Single values zeroed in training, the others scaled by 1 / (1 - rate)."""
    return keras.layers.Dropout(rate, name=_number("dropout"))(x)


def spatial_dropout(x: Tensor, rate: float) -> Tensor:
    """Whole channels zeroed in training, the others scaled by 1 / (1 - rate)."""
    return keras.layers.SpatialDropout2D(rate, name=_number("spatial_dropout"))(x)


def channel_shuffle(x: Tensor, groups: int) -> Tensor:
    """Mix the channels of the groups."""
    return ChannelShuffle(groups, name=_number("shuffle"))(x)


def split_channels(x: Tensor) -> tuple[Tensor, Tensor]:
    """First and second half of the channels."""
    return SplitChannels(name=_number("split"))(x)


def pad_channels(x: Tensor, channels: int) -> Tensor:
    """Zero channels appended up to `channels`."""
    return PadChannels(channels, name=_number("pad"))(x)
