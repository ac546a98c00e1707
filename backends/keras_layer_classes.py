"""Layers that Keras lacks, or has in a form that TensorFlow runs slowly; channels-last.

The networks use them through `backends.keras_layers`.
"""

from __future__ import annotations

from typing import Any, Literal

import keras
from typing_extensions import override

from backends.interpolation import linear_weights, nearest_rows
from backends.keras_engine import ENGINE, TENSORFLOW, tf

ops: Any = keras.ops  # its annotations say that an operation may return None
Tensor = Any  # keras.KerasTensor while a network is built, a tensor of the engine afterwards
Pair = tuple[int, int]


class GroupedConv(keras.layers.Conv2D):
    """Grouped convolution with one kernel (kh, kw, in / groups, out).

    Keras sends a grouped convolution through an XLA compilation of its own on TensorFlow, because
    TensorFlow's CPU kernel knows no groups. One plain convolution per group gives the same values
    without it, and TensorFlow's profiler then counts them.
    """

    @override
    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolve each group of channels with its own filters, and concatenate the results."""
        if not TENSORFLOW:
            return super().convolution_op(inputs, kernel)
        parts = zip(
            ops.split(inputs, self.groups, axis=-1),
            ops.split(kernel, self.groups, axis=-1),
            strict=True,
        )
        return ops.concatenate([super(GroupedConv, self).convolution_op(*p) for p in parts], -1)


class BatchNorm(keras.layers.BatchNormalization):
    """Keras' batch normalisation by TensorFlow's fused kernel, as Keras 2 ran it.

    Keras 3 writes it out as some forty operations with their gradients. The kernel gives the
    unbiased batch variance, so the biased one that Keras keeps is computed from it.
    """

    @override
    def call(
        self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None
    ) -> Tensor:
        """(n, h, w, c) to (n, h, w, c); in training the running statistics move."""
        if self.compute_dtype == "float64":
            return self._exactly(inputs, training=bool(training))
        if not TENSORFLOW:
            return super().call(inputs, training=training, mask=mask)
        empty = tf.zeros(0)
        running: Any = (self.moving_mean, self.moving_variance)
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.cast(self.gamma, tf.float32),
            offset=tf.cast(self.beta, tf.float32),
            mean=empty if training else tf.convert_to_tensor(running[0]),
            variance=empty if training else tf.convert_to_tensor(running[1]),
            epsilon=self.epsilon,
            is_training=bool(training),
        )
        if training:
            count = tf.cast(tf.size(inputs) // inputs.shape[-1], tf.float32)
            batch = (mean, variance * ((count - 1) / count))
            for kept, new in zip(running, batch, strict=True):
                kept.assign(self.momentum * kept + (1 - self.momentum) * new)
        return y

    def _exactly(self, inputs: Tensor, *, training: bool) -> Tensor:
        """In float64, which the fused kernel lacks; Keras' own form computes parts in float32."""
        running: Any = (self.moving_mean, self.moving_variance)
        gamma, beta, mean, variance = (
            ops.cast(each, "float64") for each in (self.gamma, self.beta, *running)
        )
        if training:
            mean, variance = ops.moments(inputs, axes=(0, 1, 2))
            for kept, new in zip(running, (mean, variance), strict=True):
                kept.assign(self.momentum * kept + (1 - self.momentum) * new)
        return (inputs - mean) * (gamma / ops.sqrt(variance + self.epsilon)) + beta


class AveragePool(keras.layers.AveragePooling2D):
    """Average pooling that leaves the padding out of the mean on every engine.

    On PyTorch, Keras repeats the border into the padding; there the mean over zeros is divided by
    the share of each window that lies inside.
    """

    @override
    def call(self, inputs: Tensor) -> Tensor:
        """(n, h, w, c) to (n, ceil(h / stride), ceil(w / stride), c) under SAME padding."""
        if ENGINE != "torch" or self.padding == "valid":
            return super().call(inputs)
        pads = [(0, 0)]
        for axis, (size, stride) in enumerate(zip(self.pool_size, self.strides, strict=True), 1):
            length = inputs.shape[axis]
            total = max(0, (-(-length // stride) - 1) * stride + size - length)
            pads.append((total // 2, total - total // 2))
        pads.append((0, 0))
        mean, inside = (
            ops.average_pool(ops.pad(x, pads), self.pool_size, self.strides, "valid")
            for x in (inputs, ops.ones_like(inputs[:1, :, :, :1]))
        )
        return mean / inside


class Resize(keras.layers.Layer):
    """Resize to (height, width), half-pixel centres and no antialiasing.

    `nearest` takes the source row floor((i + ½) · in / out), and columns likewise. In training it
    copies rows and columns instead: the same values, but TensorFlow's own resizing has no
    deterministic gradient on a GPU.
    """

    def __init__(
        self, size: Pair, interpolation: Literal["nearest", "bilinear"], *, name: str
    ) -> None:
        super().__init__(name=name)
        self.size = size
        self.interpolation = interpolation

    @override
    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """(n, h, w, c) to (n, height, width, c)."""
        if training and TENSORFLOW and self.interpolation == "nearest":
            return _taken(_taken(inputs, 1, self.size[0]), 2, self.size[1])
        if self.compute_dtype == "float64" and self.interpolation == "bilinear":
            # TensorFlow's kernel computes in float32 whatever it is given.
            rows, columns = (
                ops.convert_to_tensor(linear_weights(*lengths), "float64")
                for lengths in zip(inputs.shape[1:3], self.size, strict=True)
            )
            return ops.einsum("ih,nhwc,jw->nijc", rows, inputs, columns)
        return ops.image.resize(
            inputs, self.size, interpolation=self.interpolation, antialias=False
        )


def _taken(inputs: Tensor, axis: int, length: int) -> Tensor:
    """Nearest-neighbour resize of one axis; repeats, if each row is taken equally often."""
    source = inputs.shape[axis]
    if length % source == 0:
        return tf.repeat(inputs, length // source, axis=axis)
    # Its gradient is a segmented sum, deterministic if TensorFlow is asked for that.
    return tf.gather(inputs, nearest_rows(source, length), axis=axis)


class MaxPoolWithPlaces(keras.layers.Layer):
    """2×2 max pooling, stride 2, that also gives the place (0 to 3, row order) of each maximum.

    Of equal values the first in row order is the place (SegNet, Badrinarayanan et al. 2017,
    section 3). Comparisons of the four strided views are used instead of an arg-max with
    indices, which only TensorFlow has and which costs a scatter when unpooling.
    """

    @override
    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(n, h, w, c) to the maxima and their int8 places, both (n, h/2, w/2, c)."""
        top_left, top_right = inputs[:, 0::2, 0::2], inputs[:, 0::2, 1::2]
        low_left, low_right = inputs[:, 1::2, 0::2], inputs[:, 1::2, 1::2]
        top, low = ops.maximum(top_left, top_right), ops.maximum(low_left, low_right)
        place_in_top = ops.cast(top_left < top_right, "int8")
        place_in_low = ops.cast(low_left < low_right, "int8") + 2
        places = ops.where(top >= low, place_in_top, place_in_low)
        return ops.max_pool(inputs, 2, 2), places


class MaxUnpool(keras.layers.Layer):
    """Undo `MaxPoolWithPlaces`: each value goes to its place, everything else is zero."""

    @override
    def call(self, inputs: Tensor, places: Tensor) -> Tensor:
        """(n, h, w, c) values and places to (n, 2h, 2w, c)."""
        _, height, width, channels = inputs.shape
        at = [ops.where(ops.equal(places, place), inputs, 0) for place in range(4)]
        rows = [ops.stack(at[:2], axis=3), ops.stack(at[2:], axis=3)]
        rows = [ops.reshape(row, (-1, height, 2 * width, channels)) for row in rows]
        return ops.reshape(ops.stack(rows, axis=2), (-1, 2 * height, 2 * width, channels))


class ChannelShuffle(keras.layers.Layer):
    """Channels seen as (groups, c / groups), transposed and flattened (ShuffleNet, Zhang 2018)."""

    def __init__(self, groups: int, *, name: str) -> None:
        super().__init__(name=name)
        self.groups = groups

    @override
    def call(self, inputs: Tensor) -> Tensor:
        """(n, h, w, c) to (n, h, w, c)."""
        _, height, width, channels = inputs.shape
        shape = (-1, height, width, self.groups, channels // self.groups)
        swapped = ops.transpose(ops.reshape(inputs, shape), (0, 1, 2, 4, 3))
        return ops.reshape(swapped, (-1, height, width, channels))


class SplitChannels(keras.layers.Layer):
    """The first and the second half of the channels."""

    @override
    def call(self, inputs: Tensor) -> tuple[Tensor, Tensor]:
        """(n, h, w, c) to twice (n, h, w, c / 2)."""
        half = inputs.shape[-1] // 2
        return inputs[..., :half], inputs[..., half:]


class PadChannels(keras.layers.Layer):
    """Zeros appended to the channels, up to a width."""

    def __init__(self, channels: int, *, name: str) -> None:
        super().__init__(name=name)
        self.channels = channels

    @override
    def call(self, inputs: Tensor) -> Tensor:
        """(n, h, w, c) to (n, h, w, channels)."""
        return ops.pad(inputs, ((0, 0), (0, 0), (0, 0), (0, self.channels - inputs.shape[-1])))
