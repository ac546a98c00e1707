"""A Flax NNX network behind the contract: weights, evaluation, traces."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from typing_extensions import override

from backends import flax_native
from backends.contract import (
    Array,
    Inference,
    Network,
    Operation,
    TrainingOptions,
    Weights,
    WeightSpec,
)
from backends.errors import require_images, require_masks
from backends.flax_counting import require_counted
from backends.flax_inference import FlaxInference, plan_of
from backends.flax_operations import tracing
from backends.flax_program import FlaxProgram, Values
from backends.flax_training import FlaxTrainer, value_and_gradients
from backends.plans import PLANS
from backends.weights import check_weights

PREDICT_BATCH = 8


class FlaxNetwork(Network):
    """A `FlaxProgram` behind the contract."""

    def __init__(
        self, build: Callable[..., nnx.Module], classes: int, height: int, width: int
    ) -> None:
        self.classes, self.height, self.width = classes, height, width
        self._build = build
        self.program = FlaxProgram(self._module(0), height, width)
        self._batch_statistics = jax.jit(self._statistics_of_batch)
        self._gradients = jax.jit(self._gradients_of, static_argnames="loss")

    def _module(self, seed: int) -> nnx.Module:
        """The network as its builder makes it, with `rngs` from the seed if it takes them."""
        size = {"classes": self.classes, "height": self.height, "width": self.width}
        draws = "rngs" in inspect.signature(self._build).parameters
        return self._build(**size, **({"rngs": nnx.Rngs(seed)} if draws else {}))

    @override
    def own_start(self, seed: int) -> dict[str, Array]:
        drawn = FlaxProgram(self._module(seed), self.height, self.width)
        values = drawn.parameters | drawn.statistics
        return {name: np.array(values[name]) for name in drawn.names}

    @override
    def weight_specs(self) -> tuple[WeightSpec, ...]:
        values = self.program.parameters | self.program.statistics
        return tuple(
            WeightSpec(
                name=name,
                shape=values[name].shape,
                trainable=name in self.program.parameters,
                native=self.program.native,
                dtype=str(values[name].dtype),
            )
            for name in self.program.names
        )

    @override
    def weights(self) -> dict[str, Array]:
        values = self.program.parameters | self.program.statistics
        return {name: np.array(values[name]) for name in self.program.names}

    @override
    def set_weights(self, weights: Weights) -> None:
        check_weights(weights, self.weight_specs())
        self.program.load(weights)

    @override
    def write_native(self, path: Path) -> None:
        flax_native.write(self.weights(), path)

    @override
    def read_native(self, path: Path) -> None:
        self.set_weights(flax_native.read(path))

    @override
    def predict(self, images: Array) -> Array:
        require_images(images, self.height, self.width)

        def run(part: Array) -> jax.Array:
            executable = self.program.executable(PLANS["flax"][0], len(part), masks=False)
            return executable(self.program.parameters, self.program.statistics, part)

        return self._in_batches(run, images)

    def _in_batches(self, run: Callable[[Array], jax.Array], images: Array) -> Array:
        """`run` on batches of `PREDICT_BATCH` images, or one by one if there are fewer.

        The last batch is padded, so that at most two shapes are ever compiled.
        """
        batch = PREDICT_BATCH if len(images) >= PREDICT_BATCH else 1
        parts = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            missing = batch - len(part)
            padded = np.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0)))
            parts.append(np.asarray(run(padded))[: len(part)])
        return np.concatenate(parts)

    @override
    def exact(self) -> Callable[[Array], Array]:
        with jax.enable_x64(True):
            program = self.program.in_float64()
            values = program.parameters, program.statistics

        # The weights are arguments: as constants they would be compiled, some hundred megabytes.
        @jax.jit
        def forward(parameters: Values, statistics: Values, images: jax.Array) -> jax.Array:
            module: Any = self.program.merge(parameters, statistics)
            return module(images.astype(jnp.float64))

        def logits(images: Array) -> Array:
            require_images(images, self.height, self.width)
            with jax.enable_x64(True):
                return self._in_batches(partial(forward, *values), images)

        return logits

    @override
    def exact_step(
        self, images: Array, masks: Array, options: TrainingOptions, learning_rate: float
    ) -> dict[str, Array]:
        with jax.enable_x64(True):
            trainer = FlaxTrainer(self.program.in_float64(), options)
            trainer.set_data(images, masks)
            return trainer.first_step(learning_rate)

    @override
    def release(self) -> None:
        self.program.forget(keep=(1, PREDICT_BATCH))

    @override
    def prepare(
        self, images: Array, *, plan: str, quantity: Literal["forward", "end_to_end"]
    ) -> Inference:
        require_images(images, self.height, self.width)
        return FlaxInference(self.program, images, plan_of(plan), quantity)

    @override
    def trainer(self, options: TrainingOptions) -> FlaxTrainer:
        return FlaxTrainer(self.program, options)

    @override
    def recalibrate(self, images: Array, batch_size: int) -> None:
        if not self.program.statistics:
            return
        require_images(images, self.height, self.width)
        starts = range(0, len(images) - batch_size + 1, batch_size)
        found = [
            self._batch_statistics(
                self.program.parameters, self.program.statistics, images[start : start + batch_size]
            )
            for start in starts
        ]
        if found:
            means = {
                n: np.mean([values[n] for values in found], 0) for n in self.program.statistics
            }
            self.program.statistics = jax.device_put(means, may_alias=False)

    def _statistics_of_batch(
        self, parameters: Values, statistics: Values, images: jax.Array
    ) -> Values:
        """Mean and biased variance of one batch in every normalisation, without dropout."""
        module: Any = self.program.merge(parameters, statistics, training=True)
        # With this momentum the running values become those of the batch.
        module.set_attributes(momentum=0.0, raise_if_not_found=False)
        module(images)
        return self.program.running_values(module, statistics)

    def _gradients_of(
        self, parameters: Values, statistics: Values, images: jax.Array, masks: jax.Array, loss: str
    ) -> Values:
        weights = parameters, statistics
        _, gradients = value_and_gradients(self.program, *weights, images, masks, loss, None)
        return gradients

    @override
    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        require_images(images, self.height, self.width)
        require_masks(masks, images)
        program = self.program
        gradients = self._gradients(
            program.parameters, program.statistics, images, masks, loss=loss
        )
        return {name: np.array(gradients[name]) for name in self.program.names if name in gradients}

    @override
    def operations(self) -> tuple[Operation, ...]:
        def forward(parameters: Values, statistics: Values, images: jax.Array) -> jax.Array:
            nonlocal operations
            module: Any = self.program.merge(parameters, statistics)
            with tracing(module) as trace:
                logits = module(images)
            operations = tuple(trace.operations)
            return logits

        operations: tuple[Operation, ...] = ()
        images = jax.ShapeDtypeStruct((1, self.height, self.width, 1), jnp.float32)
        traced = jax.make_jaxpr(forward)(self.program.parameters, self.program.statistics, images)
        require_counted(traced, operations)
        return operations

    @override
    def activations(self, images: Array) -> dict[str, Array]:
        def forward(parameters: Values, statistics: Values, images: jax.Array) -> list[jax.Array]:
            module: Any = self.program.merge(parameters, statistics)
            with tracing(module) as trace:
                module(images)
            names.extend(trace.activations)
            return list(trace.activations.values())

        require_images(images, self.height, self.width)
        names: list[str] = []
        values = jax.jit(forward)(self.program.parameters, self.program.statistics, images)
        return {name: np.array(value) for name, value in zip(names, values, strict=True)}
