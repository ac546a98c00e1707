"""Training of a Flax network: one jitted step on arrays that stay on the device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from backends.contract import Array, Trainer, TrainingOptions, Weights, WeightSpec
from backends.errors import require_images, require_masks
from backends.flax_layers import seed_dropout
from backends.flax_program import MATMUL_PRECISIONS, FlaxProgram, Values, reduced
from backends.weights import check_optimizer_state

BETA_1, BETA_2 = 0.9, 0.999


def segmentation_loss(logits: jax.Array, masks: jax.Array, loss: str) -> jax.Array:
    """Loss of (n, h, w, classes) logits and (n, h, w) masks (see `TrainingOptions`), a scalar."""
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    # The softmax of the brain class is the sigmoid of its margin over the others.
    margin = logits[..., 1] - _all_but_brain(logits)
    brain = jax.nn.sigmoid(margin)
    truth = masks.astype(logits.dtype)
    overlap = 2 * jnp.sum(brain * truth) + 1
    dice = 1 - overlap / (jnp.sum(brain) + jnp.sum(truth) + 1)
    if loss == "dice":
        return dice
    return dice + jnp.mean(jax.nn.softplus(margin) - truth * margin)


def _all_but_brain(logits: jax.Array) -> jax.Array:
    if logits.shape[-1] == 2:
        return logits[..., 0]
    others = jnp.concatenate([logits[..., :1], logits[..., 2:]], -1)
    return jax.nn.logsumexp(others, -1)


def value_and_gradients(
    program: FlaxProgram,
    parameters: Values,
    statistics: Values,
    images: jax.Array,
    masks: jax.Array,
    loss: str,
    key: jax.Array | None,
    precision: str = "float32",
) -> tuple[tuple[jax.Array, Values], Values]:
    """((loss, new running statistics), gradients) in training mode; `key` None: no dropout.

    The parameters are float32, and so are their gradients, whatever the network computes in.
    """

    def objective(parameters: Values) -> tuple[jax.Array, Values]:
        dropout = key is not None
        cast = reduced(parameters, precision)
        module: Any = program.merge(cast, statistics, training=True, dropout=dropout)
        if key is not None:
            seed_dropout(module, key)
        value = segmentation_loss(module(images), masks, loss)
        return value, program.running_values(module, statistics)

    with jax.default_matmul_precision(MATMUL_PRECISIONS[precision]):
        return jax.value_and_grad(objective, has_aux=True)(parameters)


@jax.jit  # inlined by XLA; here it lets weights of one shape share one trace
def _adam(
    value: jax.Array,
    first: jax.Array,
    second: jax.Array,
    gradient: jax.Array,
    scales: jax.Array,
    epsilon: float,
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """One weight's update; `scales` are the rate, 1 − β₁^t and 1 − β₂^t."""
    rate, correction_1, correction_2 = scales
    first = BETA_1 * first + (1 - BETA_1) * gradient
    second = BETA_2 * second + (1 - BETA_2) * jnp.square(gradient)
    change = rate * (first / correction_1) / (jnp.sqrt(second / correction_2) + epsilon)
    return value - change, first, second


class FlaxTrainer(Trainer):
    """Adam on a network's weights; the program holds the weights, this object the moments.

    A step donates weights and moments to XLA, which updates them in place. Dropout draws from
    fold_in(fold_in(key(seed), epoch), step in the epoch), one further fold per layer. The generator
    is XLA's own (`rbg`): Threefry would cost more than the convolutions around it on a CPU.
    """

    def __init__(self, program: FlaxProgram, options: TrainingOptions) -> None:
        self._program, self._options = program, options
        zeros = {n: np.zeros(value.shape, value.dtype) for n, value in program.parameters.items()}
        self._first, self._second = jax.device_put((zeros, zeros), may_alias=False)
        self._updates = 0
        self._losses: list[jax.Array] = []
        self._images: jax.Array | None = None
        self._masks: jax.Array | None = None
        self._step = jax.jit(self._compute, donate_argnums=(0, 1, 2, 3))
        self.start_epoch(0)

    @override
    def set_data(self, images: Array, masks: Array) -> None:
        require_images(images, self._program.height, self._program.width)
        require_masks(masks, images)
        self._images, self._masks = jax.device_put((images, masks))

    @override
    def start_epoch(self, epoch: int) -> None:
        self._key = jax.random.fold_in(jax.random.key(self._options.seed, impl="rbg"), epoch)
        self._in_epoch = 0

    @override
    def place(self, batches: Array) -> list[jax.Array]:
        return list(jnp.unstack(jax.device_put(batches.astype(np.int32))))

    @override
    def step(self, indices: Any, learning_rate: float) -> None:
        program = self._program
        self._updates += 1
        # In float64 here: 1 − β^t loses four digits in float32 at the first steps.
        corrections = (1 - BETA_1**self._updates, 1 - BETA_2**self._updates)
        program.parameters, program.statistics, self._first, self._second, loss = self._step(
            program.parameters,
            program.statistics,
            self._first,
            self._second,
            self._images,
            self._masks,
            indices.astype(np.int32) if isinstance(indices, np.ndarray) else indices,
            np.array((learning_rate, *corrections), program.dtype),
            self._key,
            np.int32(self._in_epoch),
        )
        self._in_epoch += 1
        self._losses.append(loss)

    def _compute(
        self,
        parameters: Values,
        statistics: Values,
        first: Values,
        second: Values,
        images: jax.Array,
        masks: jax.Array,
        indices: jax.Array,
        scales: jax.Array,
        key: jax.Array,
        number: jax.Array,
    ) -> tuple[Any, ...]:
        drawn = jax.random.fold_in(key, number) if self._options.dropout else None
        (value, statistics), gradients = value_and_gradients(
            self._program,
            parameters,
            statistics,
            images[indices].astype(self._program.dtype),
            masks[indices],
            self._options.loss,
            drawn,
            self._options.precision,
        )
        for name, gradient in gradients.items():
            parameters[name], first[name], second[name] = _adam(
                parameters[name],
                first[name],
                second[name],
                gradient,
                scales,
                self._options.adam_epsilon,
            )
        return parameters, statistics, first, second, value

    @override
    def losses(self) -> Array:
        values = np.array(jax.device_get(self._losses), self._program.dtype)
        self._losses = []
        return values

    def first_step(self, learning_rate: float) -> dict[str, Array]:
        """One step on all data: see `Network.exact_step`."""
        assert self._images is not None
        self.step(np.arange(len(self._images)), learning_rate)
        found = {"loss/loss": self.losses()}
        for name, first in self._first.items():
            # After one step Adam's first moment is (1 − β₁) · g.
            found[f"gradient/{name}"] = np.array(first) / (1 - BETA_1)
        for name, value in (self._program.parameters | self._program.statistics).items():
            found[f"weight/{name}"] = np.array(value)
        return found

    @override
    def state(self) -> dict[str, Array]:
        values = {"step": np.array(self._updates, np.int64)}
        for moment, arrays in (("m", self._first), ("v", self._second)):
            values.update({f"{moment}/{name}": np.array(v) for name, v in arrays.items()})
        return values

    @override
    def set_state(self, state: Weights) -> None:
        specs = [
            WeightSpec(name=name, shape=value.shape, trainable=True)
            for name, value in self._first.items()
        ]
        check_optimizer_state(state, specs)
        self._updates = int(state["step"])
        # No aliases: a NumPy buffer shared with JAX must not be donated.
        self._first, self._second = (
            jax.device_put({n: state[f"{moment}/{n}"] for n in self._first}, may_alias=False)
            for moment in "mv"
        )
