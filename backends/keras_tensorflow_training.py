"""Training, gradients and batch statistics of a Keras network on the TensorFlow engine."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import prod, sqrt
from typing import Any

import keras
import numpy as np
from typing_extensions import override

from backends.contract import Array, Trainer, TrainingOptions, Weights
from backends.errors import require_images, require_masks, require_variance
from backends.keras_engine import tf
from backends.keras_graph import Slot
from backends.weights import check_optimizer_state

Tensor = Any  # a tensor of TensorFlow
BETA1, BETA2 = 0.9, 0.999


class TensorFlowTrainer(Trainer):
    """Training by one `tf.function` per step, on data that stay on the device.

    `model.fit` is not used: its first call costs several times as much (DFANet: 95 s against 20 s
    on two cores) and its Adam puts ε elsewhere than the contract.
    """

    def __init__(self, model: Any, slots: Sequence[Slot], options: TrainingOptions) -> None:
        require_batch_variance(model, options.batch_size)
        self._model = model
        self._slots = [slot for slot in slots if slot.spec.trainable]
        self._options = options
        self._step = 0
        self._all_slots = slots
        dtype = self._dtype = tf.as_dtype(model.compute_dtype)
        self._m, self._v = (
            [tf.Variable(tf.zeros(slot.variable.shape, dtype)) for slot in self._slots]
            for _ in range(2)
        )
        self._losses: list[Tensor] = []
        height, width = model.input.shape[1:3]
        data = tf.TensorSpec((None, height, width), tf.float32)
        self._function = tf.function(
            self._update,
            input_signature=[
                tf.TensorSpec((None, height, width, 1), tf.float32),
                data,
                tf.TensorSpec((options.batch_size,), tf.int64),
                tf.TensorSpec((), dtype),
                tf.TensorSpec((), dtype),
            ],
            autograph=False,
        )
        self.start_epoch(0)

    @override
    def set_data(self, images: Array, masks: Array) -> None:
        require_images(images, *self._model.input.shape[1:3])
        require_masks(masks, images)
        self._images = tf.constant(images)
        # As float32, whose rows TensorFlow gathers on a GPU.
        self._masks = tf.constant(masks.astype(np.float32))

    @override
    def start_epoch(self, epoch: int) -> None:
        # The generators are counter-based: each starts from (seed, epoch, number of the layer).
        for number, layer in enumerate(_dropouts(self._model)):
            words = np.random.SeedSequence((self._options.seed, epoch, number)).generate_state(1)
            layer.seed_generator.state.assign(np.array([words[0] >> 1, 0]))

    @override
    def place(self, batches: Array) -> list[Tensor]:
        return tf.unstack(tf.constant(batches))

    @override
    def step(self, indices: Any, learning_rate: float) -> None:
        self._step += 1
        # The bias corrections, in double precision.
        unbias = sqrt(1 - BETA2**self._step)
        rate = learning_rate * unbias / (1 - BETA1**self._step)
        epsilon = self._options.adam_epsilon * unbias
        scales = (tf.constant(value, self._dtype) for value in (rate, epsilon))
        with _tf32(enabled=self._options.precision == "tf32"):
            loss = self._function(self._images, self._masks, indices, *scales)
        self._losses.append(loss)

    def _update(
        self,
        images: Tensor,
        masks: Tensor,
        indices: Tensor,
        rate: Tensor,
        epsilon: Tensor,
    ) -> Tensor:
        with _computing_in(self._model, self._options.precision):
            value, found = loss_and_gradients(
                self._model,
                self._slots,
                tf.cast(tf.gather(images, indices), self._dtype),
                tf.cast(tf.gather(masks, indices), self._dtype),
                self._options.loss,
                dropout=self._options.dropout,
            )
        # Made once here: as Python numbers they would become constants of each weight.
        zero, beta1, beta2 = (tf.constant(value, self._dtype) for value in (0.0, BETA1, BETA2))
        for slot, m, v, gradient in zip(self._slots, self._m, self._v, found, strict=True):
            # The kernel computes rate · m / (√v + ε). With `rate` and ε both multiplied by
            # √(1 - β2^t), and `rate` divided by 1 - β1^t, that is m̂ / (√v̂ + ε) exactly; the
            # powers given as 0 keep the kernel from correcting a second time.
            tf.raw_ops.ResourceApplyAdam(
                var=slot.variable.value.handle,
                m=m.handle,
                v=v.handle,
                beta1_power=zero,
                beta2_power=zero,
                lr=rate,
                beta1=beta1,
                beta2=beta2,
                epsilon=epsilon,
                grad=gradient,
            )
        return value

    @override
    def losses(self) -> Array:
        values = tf.stack(self._losses).numpy() if self._losses else np.zeros(0, np.float32)
        self._losses = []
        return values

    def first_step(self, learning_rate: float) -> dict[str, Array]:
        """One step on all data: see `Network.exact_step`."""
        self.step(np.arange(len(self._images), dtype=np.int64), learning_rate)
        found = {"loss/loss": self.losses()}
        for slot, m in zip(self._slots, self._m, strict=True):
            # After one step Adam's first moment is (1 − β₁) · g.
            found[f"gradient/{slot.spec.name}"] = slot.arranged(m.numpy() / (1 - BETA1))
        for slot in self._all_slots:
            found[f"weight/{slot.spec.name}"] = slot.arranged(slot.variable.numpy())
        return found

    @override
    def state(self) -> dict[str, Array]:
        state = {"step": np.array(self._step, np.int64)}
        for slot, m, v in zip(self._slots, self._m, self._v, strict=True):
            state[f"m/{slot.spec.name}"] = slot.to_canonical(m.numpy())
            state[f"v/{slot.spec.name}"] = slot.to_canonical(v.numpy())
        return state

    @override
    def set_state(self, state: Weights) -> None:
        check_optimizer_state(state, [slot.spec for slot in self._slots])
        for slot, m, v in zip(self._slots, self._m, self._v, strict=True):
            m.assign(slot.from_canonical(state[f"m/{slot.spec.name}"]))
            v.assign(slot.from_canonical(state[f"v/{slot.spec.name}"]))
        self._step = int(state["step"])


def loss_and_gradients(
    model: Any,
    slots: Sequence[Slot],
    images: Tensor,
    masks: Tensor,
    loss: str,
    *,
    dropout: bool,
) -> tuple[Tensor, list[Tensor]]:
    """Loss in training mode and its gradient in each slot's variable; moves the running statistics.

    Images are (n, h, w, 1) and masks (n, h, w), both float32.
    """
    with tf.GradientTape() as tape, _dropout_as(model, enabled=dropout):
        value = _loss(model(images, training=True), masks, loss)
    variables = [slot.variable.value for slot in slots]
    # A weight that takes no part has a gradient of zero, as in the other frameworks.
    zero = tf.UnconnectedGradients.ZERO
    return value, tape.gradient(value, variables, unconnected_gradients=zero)


def gradients(
    model: Any, slots: Sequence[Slot], images: Array, masks: Array, loss: str
) -> dict[str, Array]:
    """Gradient of the loss in each slot's variable, canonical, without dropout."""
    require_batch_variance(model, len(images))
    truth = tf.constant(masks.astype(np.float32))
    _, found = loss_and_gradients(model, slots, tf.constant(images), truth, loss, dropout=False)
    return {
        slot.spec.name: slot.to_canonical(gradient.numpy())
        for slot, gradient in zip(slots, found, strict=True)
    }


def _loss(logits: Tensor, masks: Tensor, loss: str) -> Tensor:
    logits = tf.cast(logits, masks.dtype)
    # The softmax of the brain class is the sigmoid of its margin over the others.
    margin = logits[..., 1] - _all_but_brain(logits)
    brain = tf.sigmoid(margin)
    overlap = tf.reduce_sum(brain * masks)
    dice = 1 - (2 * overlap + 1) / (tf.reduce_sum(brain) + tf.reduce_sum(masks) + 1)
    if loss == "dice":
        return dice
    return dice + tf.reduce_mean(tf.nn.sigmoid_cross_entropy_with_logits(masks, margin))


def _all_but_brain(logits: Tensor) -> Tensor:
    if logits.shape[-1] == 2:
        return logits[..., 0]
    return tf.reduce_logsumexp(tf.concat([logits[..., :1], logits[..., 2:]], -1), axis=-1)


def batch_statistics(model: Any, slots: Sequence[Slot], batch_size: int) -> Any:
    """A `tf.function` from images to what the running values of `slots` are over that batch.

    Without dropout. The running values themselves are overwritten: set them afterwards. Raises
    `SizeError` if a batch gives a normalisation one value per channel.
    """
    require_batch_variance(model, batch_size)

    def compute(images: Tensor) -> list[Tensor]:
        # With this momentum the running values become those of the batch.
        with _attribute_as(_norms(model), "momentum", 0.0), _dropout_as(model, enabled=False):
            model(images, training=True)
        return [tf.identity(slot.variable.value) for slot in slots]

    signature = tf.TensorSpec((batch_size, *model.input.shape[1:]), tf.float32)
    return tf.function(compute, input_signature=[signature], autograph=False)


def require_batch_variance(model: Any, batch_size: int) -> None:
    """Raise `SizeError` if a batch gives a normalisation one value per channel."""
    maps: list[Any] = [layer.output for layer in _norms(model)]
    for values in maps:
        require_variance(batch_size * prod(values.shape[1:3]))


def _norms(model: Any) -> list[keras.layers.BatchNormalization]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]


def _dropouts(model: Any) -> list[keras.layers.Dropout]:
    return [layer for layer in model.layers if isinstance(layer, keras.layers.Dropout)]


@contextmanager
def _tf32(*, enabled: bool) -> Iterator[None]:
    """Products in TF32 while a step runs, if that is asked for; strict elsewhere."""
    if enabled:
        tf.config.experimental.enable_tensor_float_32_execution(True)
    try:
        yield
    finally:
        if enabled:
            tf.config.experimental.enable_tensor_float_32_execution(False)


@contextmanager
def _computing_in(model: Any, precision: str) -> Iterator[None]:
    """While the step is traced: layers cast what they take, weights stay float32."""
    layers = model.layers if precision == "bfloat16" else []
    with _attribute_as(layers, "dtype_policy", "mixed_bfloat16"):
        yield


@contextmanager
def _dropout_as(model: Any, *, enabled: bool) -> Iterator[None]:
    with _attribute_as([] if enabled else _dropouts(model), "rate", 0):
        yield


@contextmanager
def _attribute_as(layers: Sequence[Any], name: str, value: float | str) -> Iterator[None]:
    before = [getattr(layer, name) for layer in layers]
    for layer in layers:
        setattr(layer, name, value)
    try:
        yield
    finally:
        for layer, old in zip(layers, before, strict=True):
            setattr(layer, name, old)
