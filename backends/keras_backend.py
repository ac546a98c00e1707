"""Keras as a backend: on TensorFlow by default, on JAX or PyTorch by `KERAS_BACKEND`.

The launcher sets that variable before the process starts. TensorFlow trains and has plans of its
own; the other two engines predict, so that one Keras file can be compared on three engines.
"""

from __future__ import annotations

import os

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from backends import keras_engine, keras_native, keras_tensorflow, keras_tensorflow_training
from backends.contract import (
    Array,
    Backend,
    Bytes,
    Capabilities,
    Inference,
    Network,
    Operation,
    Plan,
    Runtime,
    Trainer,
    TrainingOptions,
    Weights,
    WeightSpec,
)
from backends.errors import Unsupported, require_images, require_size
from backends.keras_engine import ENGINE, TENSORFLOW, canonical_path, tf, to_numpy
from backends.keras_graph import operations, slots
from backends.weights import check_weights

Quantity = Literal["forward", "end_to_end"]
NAMES = {
    "tensorflow": ("keras", "Keras on TensorFlow"),
    "jax": ("keras-jax", "Keras on JAX"),
    "torch": ("keras-torch", "Keras on PyTorch"),
}
EXTRAS = {"tensorflow": "keras", "jax": "keras,jax", "torch": "keras,torch"}
PREDICT = Plan(key="predict", title="model.predict (the paper's way; logits end on the host)")
# The first is the default: `predict` spends tens of milliseconds of Python around every network.
TENSORFLOW_PLANS = (
    Plan(key="tf-function", title="tf.function graph"),
    PREDICT,
    Plan(key="xla", title="tf.function compiled by XLA"),
    Plan(key="tf-function-tf32", title="tf.function, TF32", precision="tf32", devices=("cuda",)),
    Plan(key="tf-function-bfloat16", title="tf.function, bfloat16", precision="bfloat16"),
    Plan(
        key="tf-function-float16",
        title="tf.function, float16",
        precision="float16",
        devices=("cuda",),
    ),
)
EVALUATION_BATCH_SIZE = 8


class PredictQuery(Inference):
    """`model.predict` on one batch; all it does, on each engine, ends on the host."""

    def __init__(self, model: Any, images: Array, quantity: Quantity) -> None:
        self._model = model
        self._to_masks = quantity == "end_to_end"
        self.set_images(images)

    def set_images(self, images: Array) -> None:
        """Take other images; TensorFlow's `predict` takes them from the device too."""
        on_device = TENSORFLOW and not self._to_masks
        self._images: Any = keras.ops.convert_to_tensor(images) if on_device else images

    def launch(self) -> Array:
        """Predict the batch as one batch."""
        logits = self._model.predict(self._images, batch_size=int(self._images.shape[0]), verbose=0)
        return np.argmax(logits, axis=-1).astype(np.uint8) if self._to_masks else logits

    def synchronise(self, result: Any) -> None:
        """Nothing to wait for: the result is on the host already."""

    def logits(self, result: Any) -> Array:
        """The result itself."""
        return np.asarray(result, np.float32)

    def compilations(self) -> int:
        """Traces of the function that `predict` made for itself ."""
        return keras_engine.predict_compilations(self._model)


class KerasNetwork(Network):
    """A functional Keras model, read and run through the contract."""

    def __init__(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> None:
        self.classes, self.height, self.width = classes, height, width
        self._builder = builder
        self._model = self._build()
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
        """The network built anew under another dtype policy, with the weights of now."""
        model = self._build(policy)
        for slot, own in zip(slots(model), self._slots, strict=True):
            slot.variable.assign(to_numpy(own.variable.value))
        return model

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """All weights, in an order in which the layers can run."""
        return self._specs

    def weights(self) -> dict[str, Array]:
        """Copies in canonical layout."""
        return {
            slot.spec.name: slot.to_canonical(to_numpy(slot.variable.value)) for slot in self._slots
        }

    def set_weights(self, weights: Weights) -> None:
        """Load canonical weights. Raises `WeightsError`."""
        check_weights(weights, self._specs)
        for slot in self._slots:
            slot.variable.assign(slot.from_canonical(weights[slot.spec.name]))

    def write_native(self, path: Path) -> None:
        """A `.weights.h5` file. Raises `WeightsError`."""
        keras_native.write(self._model, path)

    def read_native(self, path: Path) -> None:
        """Load a `.weights.h5` file. Raises `WeightsError`."""
        keras_native.read(self._model, path)

    def predict(self, images: Array) -> Array:
        """Logits in batches of at most 8, by the plan `tf-function` where the engine has it."""
        require_images(images, self.height, self.width)
        if not TENSORFLOW:
            logits = self._model.predict(images, batch_size=EVALUATION_BATCH_SIZE, verbose=0)
            return np.asarray(logits, np.float32)
        function = self._tensorflow_function("tf-function", "forward", len(images))
        starts = range(0, len(images), EVALUATION_BATCH_SIZE)
        batches = (images[start : start + EVALUATION_BATCH_SIZE] for start in starts)
        return np.concatenate([function(batch).numpy() for batch in batches])

    def exact(self) -> Callable[[Array], Array]:
        """See `Network.exact`."""
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

    def prepare(self, images: Array, *, plan: str, quantity: Quantity) -> Inference:
        """A query that has not run. Raises `SizeError`, and `Unsupported` for an unknown plan."""
        require_images(images, self.height, self.width)
        precision = _plan(plan).precision
        if plan == PREDICT.key:
            return PredictQuery(self._model, images, quantity)
        function = self._tensorflow_function(plan, quantity, len(images))
        return keras_tensorflow.CompiledQuery(function, images, quantity, tf32=precision == "tf32")

    def _tensorflow_function(self, plan: str, quantity: Quantity, batch_size: int) -> Any:
        if plan in ("tf-function-bfloat16", "tf-function-float16"):
            # Not kept: the copy holds the weights as they are now.
            model = self._copy(f"mixed_{plan.rpartition('-')[2]}")
            return keras_tensorflow.compiled(model, quantity)
        if plan == "xla":
            return keras_tensorflow.compiled(self._model, quantity, batch_size=batch_size, xla=True)
        key = f"{plan} {quantity}"
        if key not in self._functions:
            self._functions[key] = keras_tensorflow.compiled(self._model, quantity)
        return self._functions[key]

    def trainer(self, options: TrainingOptions) -> Trainer:
        """A trainer on the TensorFlow engine. Raises `Unsupported` on the others."""
        keras_engine.require_tensorflow("train")
        return keras_tensorflow_training.TensorFlowTrainer(self._model, self._slots, options)

    def recalibrate(self, images: Array, batch_size: int) -> None:
        """See `Network.recalibrate`; on TensorFlow, which is the engine that trains."""
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

    def operations(self) -> tuple[Operation, ...]:
        """Read from the functional graph. Raises `Unsupported` at a layer without a rule."""
        return tuple(operations(self._model))

    def activations(self, images: Array) -> dict[str, Array]:
        """Outputs of all layers with weights."""
        require_images(images, self.height, self.width)
        layers = [layer for layer in self._model.layers if layer.weights]
        outputs = keras.Model(self._model.input, [layer.output for layer in layers])(
            images, training=False
        )
        return {
            canonical_path(layer.name): to_numpy(output).astype(np.float32)
            for layer, output in zip(layers, outputs, strict=True)
        }

    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        """Gradients without dropout; the running statistics stay as they were."""
        keras_engine.require_tensorflow("give gradients")
        require_images(images, self.height, self.width)
        trainable = [slot for slot in self._slots if slot.spec.trainable]
        before = self.weights()
        found = keras_tensorflow_training.gradients(self._model, trainable, images, masks, loss)
        self.set_weights(before)
        return found


def _plan(key: str) -> Plan:
    plans = {plan.key: plan for plan in KerasBackend.capabilities.plans}
    if key not in plans:
        raise Unsupported(
            f"{KerasBackend.name} has no plan {key!r}: choose one of {', '.join(plans)}."
        )
    return plans[key]


class KerasBackend(Backend):
    """Keras on the engine of this process."""

    name, title = NAMES[ENGINE]
    extra = EXTRAS[ENGINE]
    capabilities = Capabilities(
        trains=TENSORFLOW,
        asynchronous=TENSORFLOW,
        devices=("cpu", "cuda"),
        plans=TENSORFLOW_PLANS if TENSORFLOW else (PREDICT,),
    )

    def __init__(self, runtime: Runtime) -> None:
        """Apply the settings. Raises `NoDevice` and `BackendError` (`keras_engine`)."""
        self._device = runtime.device
        keras_engine.start(runtime)

    def build(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> Network:
        """Build a network. Raises `SizeError`."""
        require_size(height, width)
        return KerasNetwork(builder, classes=classes, height=height, width=width)

    def versions(self) -> dict[str, str]:
        """Keras, its engine, and the CUDA that TensorFlow was built with."""
        return keras_engine.versions()

    def device_title(self) -> str:
        """The name of the GPU or of the processor."""
        return keras_engine.device_title(self._device)

    def memory(self) -> dict[str, Bytes]:
        """The peak of TensorFlow's live tensors on a GPU; unknown, with a reason, otherwise."""
        return keras_engine.memory(self._device)

    def forget_memory_peaks(self) -> bool:
        """TensorFlow can on a GPU."""
        return keras_engine.forget_memory_peaks(self._device)

    def multiply(self, left: Array, right: Array, *, plan: str, repeats: int = 1) -> Array:
        """left · right^repeats, one product after the other, in the precision of the plan."""
        precision = _plan(plan).precision
        if TENSORFLOW:
            tf.config.experimental.enable_tensor_float_32_execution(precision == "tf32")
        dtype = "float32" if precision == "tf32" else precision
        product, factor = (keras.ops.convert_to_tensor(value, dtype) for value in (left, right))
        for _ in range(repeats):
            product = keras.ops.matmul(product, factor)
        return to_numpy(keras.ops.cast(product, "float32"))
