"""Keras as a backend: on TensorFlow by default, on JAX or PyTorch by `KERAS_BACKEND`.

The launcher sets that variable before the process starts. TensorFlow trains and has plans of its
own; the other two engines predict, so that one Keras file can be compared on three engines.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# Keras would take its precision from a file below the home folder, and write one there.
os.environ["KERAS_HOME"] = os.devnull

from collections.abc import Callable
from pathlib import Path
from time import perf_counter
from typing import Any, Literal

import keras
import numpy as np
from typing_extensions import override

from backends import keras_engine, keras_native, keras_tensorflow, keras_tensorflow_training
from backends.contract import (
    Array,
    Backend,
    Bytes,
    Capabilities,
    Inference,
    Network,
    Operation,
    Runtime,
    Trainer,
    TrainingOptions,
    Weights,
    WeightSpec,
)
from backends.errors import require_images, require_masks, require_shape, require_size
from backends.keras_engine import ENGINE, TENSORFLOW, canonical_path, tf, to_numpy
from backends.keras_graph import operations, require_precision, slots
from backends.plans import PLANS, PREDICT, Plan, require, require_tf32
from backends.weights import check_weights

Quantity = Literal["forward", "end_to_end"]
NAME, TITLE = {
    "tensorflow": ("keras", "Keras on TensorFlow"),
    "jax": ("keras-jax", "Keras on JAX"),
    "torch": ("keras-torch", "Keras on PyTorch"),
}[ENGINE]
EVALUATION_BATCH_SIZE = 8


class PredictQuery(Inference):
    """`model.predict` on one batch; all it does, on each engine, ends on the host."""

    def __init__(self, model: Any, images: Array, quantity: Quantity) -> None:
        self._model = model
        self._to_masks = quantity == "end_to_end"
        self._shape = images.shape
        self.set_images(images)

    @override
    def set_images(self, images: Array) -> None:
        require_shape(images, self._shape)
        # TensorFlow's `predict` takes images from the device too.
        on_device = TENSORFLOW and not self._to_masks
        self._images: Any = keras.ops.convert_to_tensor(images) if on_device else images

    @override
    def launch(self) -> Array:
        logits = self._model.predict(self._images, batch_size=int(self._images.shape[0]), verbose=0)
        return np.argmax(logits, axis=-1).astype(np.uint8) if self._to_masks else logits

    @override
    def synchronise(self, result: Any) -> None:
        """There is nothing to wait for: the result is on the host already."""

    @override
    def logits(self, result: Any) -> Array:
        return np.asarray(result, np.float32)

    @override
    def compilations(self) -> int:
        return keras_engine.predict_compilations(self._model)


class KerasNetwork(Network):
    """A functional Keras model, read and run through the contract."""

    def __init__(
        self, builder: Callable[..., Any], device: str, *, classes: int, height: int, width: int
    ) -> None:
        self.classes, self.height, self.width = classes, height, width
        self._device = device
        self._builder = builder
        self._model = self._build()
        require_precision(self._model, "float32")
        self._slots = tuple(slots(self._model))
        self._specs = tuple(slot.spec for slot in self._slots)
        self._functions: dict[str, Any] = {}

    def _build(self, policy: str | None = None) -> Any:
        before = keras.config.dtype_policy()
        keras.config.set_dtype_policy(policy or before)
        try:
            return self._builder(classes=self.classes, height=self.height, width=self.width)
        finally:
            keras.config.set_dtype_policy(before)

    def _copy(self, policy: str) -> Any:
        """The network built again under another dtype policy, with its present weights."""
        model = self._build(policy)
        for slot, own in zip(slots(model), self._slots, strict=True):
            slot.variable.assign(to_numpy(own.variable.value))
        return model

    @override
    def weight_specs(self) -> tuple[WeightSpec, ...]:
        return self._specs

    @override
    def weights(self) -> dict[str, Array]:
        return {
            slot.spec.name: slot.to_canonical(to_numpy(slot.variable.value)) for slot in self._slots
        }

    @override
    def set_weights(self, weights: Weights) -> None:
        check_weights(weights, self._specs)
        for slot in self._slots:
            slot.variable.assign(slot.from_canonical(weights[slot.spec.name]))

    @override
    def own_start(self, seed: int) -> dict[str, Array]:
        keras.utils.set_random_seed(seed)
        # By place: Keras numbers the names of layers through the whole process.
        drawn = slots(self._build())
        return {
            own.spec.name: slot.to_canonical(to_numpy(slot.variable.value))
            for own, slot in zip(self._slots, drawn, strict=True)
        }

    @override
    def write_native(self, path: Path) -> None:
        keras_native.write(self._model, path)

    @override
    def read_native(self, path: Path) -> None:
        keras_native.read(self._model, path)

    @override
    def predict(self, images: Array) -> Array:
        """In batches of at most 8, by the plan `tf-function` if the engine has it."""
        require_images(images, self.height, self.width)
        if not TENSORFLOW:
            logits = self._model.predict(images, batch_size=EVALUATION_BATCH_SIZE, verbose=0)
            return np.asarray(logits, np.float32)
        function = self._tensorflow_function("tf-function", "forward", len(images))
        starts = range(0, len(images), EVALUATION_BATCH_SIZE)
        batches = (images[start : start + EVALUATION_BATCH_SIZE] for start in starts)
        return np.concatenate([function(batch).numpy() for batch in batches])

    @override
    def exact(self) -> Callable[[Array], Array]:
        with keras_engine.float64():
            model = self._copy("float64")
        function = keras_tensorflow.in_float64(model) if TENSORFLOW else model.predict_on_batch

        def logits(images: Array) -> Array:
            require_images(images, self.height, self.width)
            starts = range(0, len(images), EVALUATION_BATCH_SIZE)
            with keras_engine.float64():
                parts = [function(images[at : at + EVALUATION_BATCH_SIZE]) for at in starts]
                return np.concatenate([np.asarray(part) for part in parts])

        return logits

    @override
    def exact_step(
        self, images: Array, masks: Array, options: TrainingOptions, learning_rate: float
    ) -> dict[str, Array]:
        keras_engine.require_tensorflow("train")
        model = self._copy("float64")
        trainer = keras_tensorflow_training.TensorFlowTrainer(model, tuple(slots(model)), options)
        trainer.set_data(images, masks)
        return trainer.first_step(learning_rate)

    @override
    def prepare(self, images: Array, *, plan: str, quantity: Quantity) -> Inference:
        require_images(images, self.height, self.width)
        precision = _plan_of(plan, self._device).precision
        if plan == PREDICT.key:
            return PredictQuery(self._model, images, quantity)
        function = self._tensorflow_function(plan, quantity, len(images))
        return keras_tensorflow.CompiledQuery(function, images, quantity, tf32=precision == "tf32")

    def _tensorflow_function(self, plan: str, quantity: Quantity, batch_size: int) -> Any:
        if plan in ("tf-function-bfloat16", "tf-function-float16"):
            # Not kept: the copy holds the weights as they are now.
            precision = plan.rpartition("-")[2]
            model = self._copy(f"mixed_{precision}")
            require_precision(model, precision)
            return keras_tensorflow.compiled(model, quantity)
        if plan == "xla":
            return keras_tensorflow.compiled(self._model, quantity, batch_size=batch_size, xla=True)
        key = f"{plan} {quantity}"
        if key not in self._functions:
            self._functions[key] = keras_tensorflow.compiled(self._model, quantity)
        return self._functions[key]

    @override
    def trainer(self, options: TrainingOptions) -> Trainer:
        keras_engine.require_tensorflow("train")
        return keras_tensorflow_training.TensorFlowTrainer(self._model, self._slots, options)

    @override
    def recalibrate(self, images: Array, batch_size: int) -> None:
        running = [slot for slot in self._slots if not slot.spec.trainable]
        if not running:
            return
        keras_engine.require_tensorflow("recalibrate")
        require_images(images, self.height, self.width)
        key = f"recalibrate {batch_size}"
        if key not in self._functions:
            self._functions[key] = keras_tensorflow_training.batch_statistics(
                self._model, running, batch_size
            )
        starts = range(0, len(images) - batch_size + 1, batch_size)
        found = [self._functions[key](images[start : start + batch_size]) for start in starts]
        if found:
            for slot, *values in zip(running, *found, strict=True):
                slot.variable.assign(np.mean([value.numpy() for value in values], axis=0))

    @override
    def operations(self) -> tuple[Operation, ...]:
        return tuple(operations(self._model))

    @override
    def activations(self, images: Array) -> dict[str, Array]:
        require_images(images, self.height, self.width)
        layers = [layer for layer in self._model.layers if layer.weights]
        outputs = keras.Model(self._model.input, [layer.output for layer in layers])(
            images, training=False
        )
        return {
            canonical_path(layer.name): to_numpy(output).astype(np.float32)
            for layer, output in zip(layers, outputs, strict=True)
        }

    @override
    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        keras_engine.require_tensorflow("give gradients")
        require_images(images, self.height, self.width)
        require_masks(masks, images)
        trainable = [slot for slot in self._slots if slot.spec.trainable]
        before = self.weights()
        found = keras_tensorflow_training.gradients(self._model, trainable, images, masks, loss)
        self.set_weights(before)
        return found


def _plan_of(key: str, device: str) -> Plan:
    """The plan of that key if this device runs it. Raises `BackendError`, `Unsupported`."""
    plan = require(key, PLANS[NAME], device)
    if TENSORFLOW and device == "cuda":
        gpu, *_ = tf.config.get_visible_devices("GPU")
        details = tf.config.experimental.get_device_details(gpu)
        require_tf32(plan, details.get("compute_capability"))
    return plan


class KerasBackend(Backend):
    """Keras on the engine of this process."""

    name, title = NAME, TITLE
    capabilities = Capabilities(trains=TENSORFLOW, plans=PLANS[NAME])

    @override
    def __init__(self, runtime: Runtime) -> None:
        self._device = runtime.device
        keras_engine.start(runtime)

    @override
    def build(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> Network:
        require_size(height, width)
        return KerasNetwork(builder, self._device, classes=classes, height=height, width=width)

    @override
    def versions(self) -> dict[str, str]:
        return keras_engine.versions()

    @override
    def memory(self) -> dict[str, Bytes]:
        return keras_engine.memory(self._device)

    @override
    def forget_memory_peaks(self) -> bool:
        return keras_engine.forget_memory_peaks(self._device)

    @override
    def multiply(self, left: Array, right: Array, *, plan: str, repeats: int = 1) -> Array:
        precision = _plan_of(plan, self._device).precision
        if TENSORFLOW:
            tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        dtype = "float32" if precision == "tf32" else precision
        product, factor = (keras.ops.convert_to_tensor(value, dtype) for value in (left, right))
        for _ in range(repeats):
            product = keras.ops.matmul(product, factor)
        return to_numpy(keras.ops.cast(product, "float32"))

    @override
    def product_seconds(self, size: int, *, plan: str, products: int) -> float:
        precision = _plan_of(plan, self._device).precision
        if TENSORFLOW:
            tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        dtype = "float32" if precision == "tf32" else precision
        left, right = (
            keras.ops.cast(keras.random.normal((size, size), stddev=size**-0.5, seed=seed), dtype)
            for seed in (0, 1)
        )

        def work(count: int) -> float:
            begin, product = perf_counter(), left
            for _ in range(count):
                product = keras.ops.matmul(product, right)
            # One value on the host: there when the device has finished all of them.
            to_numpy(keras.ops.cast(keras.ops.slice(product, (0, 0), (1, 1)), "float32"))
            return perf_counter() - begin

        work(1)
        return work(products)
