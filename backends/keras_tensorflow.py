"""Compiled inference of a Keras network on the TensorFlow engine."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import override

from backends.contract import Array, Inference
from backends.errors import require_shape
from backends.keras_engine import tf

Tensor = Any  # a tensor of TensorFlow
Quantity = Literal["forward", "end_to_end"]


def compiled(
    model: Any, quantity: Quantity, *, batch_size: int | None = None, xla: bool = False
) -> Any:
    """A `tf.function` of one signature, from images to logits or to uint8 masks.

    Without a batch size one graph serves all of them, which is what makes evaluation and timing
    run the same callable; XLA compiles for known sizes only.
    """
    height, width = model.input.shape[1:3]

    @override
    def logits(images: Tensor) -> Tensor:
        return tf.cast(model(images, training=False), tf.float32)

    def masks(images: Tensor) -> Tensor:
        values = logits(images)
        if values.shape[-1] == 2:  # the arg-max of two, without TensorFlow's slow CPU kernel
            return tf.cast(values[..., 1] > values[..., 0], tf.uint8)
        return tf.cast(tf.argmax(values, axis=-1), tf.uint8)

    return tf.function(
        logits if quantity == "forward" else masks,
        input_signature=[tf.TensorSpec((batch_size, height, width, 1), tf.float32)],
        jit_compile=xla,
        autograph=False,  # there is no Python control flow to convert, and tracing is cheaper
    )


def in_float64(model: Any) -> Any:
    """A `tf.function` from float32 images to the float64 logits of a model of float64 layers."""
    signature = tf.TensorSpec((None, *model.input.shape[1:]), tf.float32)
    return tf.function(
        lambda images: model(tf.cast(images, tf.float64), training=False),
        input_signature=[signature],
        autograph=False,
    )


class CompiledQuery(Inference):
    """A compiled function on one batch, with the process's TF32 switch as the plan states it."""

    def __init__(self, function: Any, images: Array, quantity: Quantity, *, tf32: bool) -> None:
        self._function = function
        self._to_host = quantity == "end_to_end"
        self._tf32 = tf32
        self._shape = images.shape
        self.set_images(images)

    @override
    def set_images(self, images: Array) -> None:
        require_shape(images, self._shape)
        self._images = images if self._to_host else tf.constant(images)
        self.synchronise(self._images)

    @override
    def launch(self) -> Any:
        tf.config.experimental.enable_tensor_float_32_execution(self._tf32)
        result = self._function(self._images)
        return result.numpy() if self._to_host else result

    @override
    def synchronise(self, result: Any) -> None:
        tf.test.experimental.sync_devices()

    @override
    def logits(self, result: Any) -> Array:
        return result.numpy()

    @override
    def compilations(self) -> int:
        return self._function.experimental_get_tracing_count()
