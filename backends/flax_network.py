"""A Flax NNX network behind the contract: weights, executables, queries, traces.

Networks run ahead-of-time compiled for one batch size, as pure functions of two flat dictionaries
(parameters, running statistics) by canonical name: JAX flattens a dictionary in C++, an `nnx.State`
in Python, and a small network's whole latency is of that order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from backends import flax_native
from backends.contract import (
    Array,
    Inference,
    Network,
    Operation,
    Plan,
    TrainingOptions,
    Weights,
    WeightSpec,
)
from backends.errors import require_images
from backends.flax_counting import require_counted
from backends.flax_layers import seed_dropout, shift_depthwise
from backends.flax_operations import tracing
from backends.flax_plans import MATMUL_PRECISIONS, PLANS, REDUCED, FlaxInference, require_plan
from backends.flax_training import FlaxTrainer, segmentation_loss
from backends.weights import check_weights

Values = dict[str, jax.Array]
PREDICT_BATCH = 8


def _definition_order(module: nnx.Module, prefix: str = "") -> list[str]:
    """Canonical names of all variables in the order in which the network defines them."""
    names = []
    for name, part in vars(module).items():
        if isinstance(part, nnx.Variable):
            names.append(prefix + name)
        elif isinstance(part, nnx.Module):
            names += _definition_order(part, f"{prefix}{name}.")
    return names


class FlaxNetwork(Network):
    """An NNX module, its weights on the device, and what was compiled of it."""

    def __init__(self, module: nnx.Module, classes: int, height: int, width: int) -> None:
        self.classes, self.height, self.width = classes, height, width
        self._graph, state = nnx.split(module)
        self._variables = {
            ".".join(map(str, path)): (path, variable)
            for path, variable in nnx.to_flat_state(state)
        }
        self._names = _definition_order(module)
        self.parameters = self._put(nnx.Param)
        self.statistics = self._put(nnx.BatchStat)
        self._reduced: dict[str, tuple[Values, Values]] = {}
        self._reduced_from: Values = {}
        self._executables: dict[tuple[str, int, bool], Any] = {}
        self._batch_statistics = jax.jit(self._statistics_of_batch)

    def _put(self, kind: type[nnx.Variable]) -> Values:
        """The variables of one kind on the device."""
        variables = {name: self._variables[name][1] for name in self._names}
        chosen = {n: v.get_value() for n, v in variables.items() if isinstance(v, kind)}
        return jax.device_put(chosen, may_alias=False)

    def _merge(
        self,
        parameters: Values,
        statistics: Values,
        *,
        training: bool = False,
        dropout: bool = False,
        shifted: bool = False,
    ) -> nnx.Module:
        """The module in the given mode, holding the given values (inside a trace)."""
        flat = {
            self._variables[name][0]: self._variables[name][1].replace(value)
            for name, value in (parameters | statistics).items()
        }
        module: nnx.Module = nnx.merge(self._graph, nnx.from_flat_state(flat))
        module.set_attributes(
            use_running_average=not training, deterministic=not dropout, raise_if_not_found=False
        )
        shift_depthwise(module, shifted)
        return module

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        values = self.parameters | self.statistics
        return tuple(
            WeightSpec(name=name, shape=values[name].shape, trainable=name in self.parameters)
            for name in self._names
        )

    def weights(self) -> dict[str, Array]:
        values = self.parameters | self.statistics
        return {name: np.array(values[name]) for name in self._names}

    def set_weights(self, weights: Weights) -> None:
        check_weights(weights, self.weight_specs())
        # No aliases: a NumPy buffer shared with JAX must not be donated by training.
        self.parameters = jax.device_put({n: weights[n] for n in self.parameters}, may_alias=False)
        self.statistics = jax.device_put({n: weights[n] for n in self.statistics}, may_alias=False)

    def write_native(self, path: Path) -> None:
        flax_native.write(self.weights(), path)

    def read_native(self, path: Path) -> None:
        self.set_weights(flax_native.read(path))

    def values_in(self, precision: str) -> tuple[Values, Values]:
        """The weights as a plan of that precision takes them; normalisation stays float32."""
        if precision not in REDUCED:
            return self.parameters, self.statistics
        if self._reduced_from is not self.parameters:
            self._reduced_from = self.parameters
            self._reduced = {}
        if precision not in self._reduced:
            reduced = {
                name: value if name.endswith((".gamma", ".beta")) else value.astype(precision)
                for name, value in self.parameters.items()
            }
            self._reduced[precision] = reduced, self.statistics
        return self._reduced[precision]

    def forward(
        self, parameters: Values, statistics: Values, images: jax.Array, *, shifted: bool = False
    ) -> jax.Array:
        """Float32 logits as a pure function of the weights, in inference mode."""
        module: Any = self._merge(parameters, statistics, shifted=shifted)
        return module(images).astype(jnp.float32)

    def executable(self, plan: Plan, batch: int, *, masks: bool) -> Any:
        """Compiled function from (parameters, statistics, images) to logits or uint8 masks."""
        key = (plan.key, batch, masks)
        if key not in self._executables:

            def answer(parameters: Values, statistics: Values, images: jax.Array) -> jax.Array:
                shifted = plan.key == "aot-shifted-depthwise"
                logits = self.forward(parameters, statistics, images, shifted=shifted)
                return logits.argmax(-1).astype(jnp.uint8) if masks else logits

            images = jax.ShapeDtypeStruct((batch, self.height, self.width, 1), jnp.float32)
            with jax.default_matmul_precision(MATMUL_PRECISIONS[plan.precision]):
                lowered = jax.jit(answer).lower(*self.values_in(plan.precision), images)
            self._executables[key] = lowered.compile()
        return self._executables[key]

    def predict(self, images: Array) -> Array:
        """Logits; in batches of `PREDICT_BATCH`, or one by one where there are fewer images.

        The last batch is padded, so that at most two shapes are ever compiled.
        """
        require_images(images, self.height, self.width)

        def run(part: Array) -> jax.Array:
            executable = self.executable(PLANS[0], len(part), masks=False)
            return executable(self.parameters, self.statistics, part)

        return self._in_batches(run, images)

    def _in_batches(self, run: Callable[[Array], jax.Array], images: Array) -> Array:
        batch = PREDICT_BATCH if len(images) >= PREDICT_BATCH else 1
        parts = []
        for start in range(0, len(images), batch):
            part = images[start : start + batch]
            missing = batch - len(part)
            padded = np.pad(part, ((0, missing), (0, 0), (0, 0), (0, 0)))
            parts.append(np.asarray(run(padded))[: len(part)])
        return np.concatenate(parts)

    def exact(self) -> Callable[[Array], Array]:
        """See `Network.exact`; the last batch is padded, as in `predict`."""
        with jax.enable_x64(True):
            values = [
                {name: jnp.asarray(value, jnp.float64) for name, value in kind.items()}
                for kind in (self.parameters, self.statistics)
            ]

        # The weights are arguments: as constants they would be compiled, some hundred megabytes.
        @jax.jit
        def forward(parameters: Values, statistics: Values, images: jax.Array) -> jax.Array:
            module: Any = self._merge(parameters, statistics)
            return module(images.astype(jnp.float64))

        def logits(images: Array) -> Array:
            require_images(images, self.height, self.width)
            with jax.enable_x64(True):
                return self._in_batches(partial(forward, *values), images)

        return logits

    def prepare(
        self, images: Array, *, plan: str, quantity: Literal["forward", "end_to_end"]
    ) -> Inference:
        require_images(images, self.height, self.width)
        return FlaxInference(self, images, require_plan(plan), quantity)

    def trainer(self, options: TrainingOptions) -> FlaxTrainer:
        return FlaxTrainer(self, options)

    def recalibrate(self, images: Array, batch_size: int) -> None:
        if not self.statistics:
            return
        require_images(images, self.height, self.width)
        starts = range(0, len(images) - batch_size + 1, batch_size)
        found = [
            self._batch_statistics(
                self.parameters, self.statistics, images[start : start + batch_size]
            )
            for start in starts
        ]
        if found:
            means = {n: np.mean([values[n] for values in found], 0) for n in self.statistics}
            self.statistics = jax.device_put(means, may_alias=False)

    def _statistics_of_batch(
        self, parameters: Values, statistics: Values, images: jax.Array
    ) -> Values:
        """Mean and biased variance of one batch in every normalisation, without dropout."""
        module: Any = self._merge(parameters, statistics, training=True)
        # With this momentum the running values become those of the batch.
        module.set_attributes(momentum=0.0, raise_if_not_found=False)
        module(images)
        return self._running_values(module, statistics)

    def _running_values(self, module: nnx.Module, names: Iterable[str]) -> Values:
        after = dict(nnx.to_flat_state(nnx.state(module, nnx.BatchStat)))
        return {name: after[self._variables[name][0]][...] for name in names}

    def value_and_gradients(
        self,
        parameters: Values,
        statistics: Values,
        images: jax.Array,
        masks: jax.Array,
        loss: str,
        key: jax.Array | None,
    ) -> tuple[tuple[jax.Array, Values], Values]:
        """((loss, new running statistics), gradients) in training mode; `key` None: no dropout."""

        def objective(parameters: Values) -> tuple[jax.Array, Values]:
            dropout = key is not None
            module: Any = self._merge(parameters, statistics, training=True, dropout=dropout)
            if key is not None:
                seed_dropout(module, key)
            value = segmentation_loss(module(images), masks, loss)
            return value, self._running_values(module, statistics)

        return jax.value_and_grad(objective, has_aux=True)(parameters)

    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        require_images(images, self.height, self.width)
        compute = jax.jit(lambda *arrays: self.value_and_gradients(*arrays, loss=loss, key=None)[1])
        gradients = compute(self.parameters, self.statistics, images, masks)
        return {name: np.array(gradients[name]) for name in self._names if name in gradients}

    def operations(self) -> tuple[Operation, ...]:
        def forward(parameters: Values, statistics: Values, images: jax.Array) -> jax.Array:
            nonlocal operations
            module: Any = self._merge(parameters, statistics)
            with tracing(module) as trace:
                logits = module(images)
            operations = tuple(trace.operations)
            return logits

        operations: tuple[Operation, ...] = ()
        images = jax.ShapeDtypeStruct((1, self.height, self.width, 1), jnp.float32)
        traced = jax.make_jaxpr(forward)(self.parameters, self.statistics, images)
        require_counted(traced, operations)
        return operations

    def activations(self, images: Array) -> dict[str, Array]:
        def forward(parameters: Values, statistics: Values, images: jax.Array) -> list[jax.Array]:
            module: Any = self._merge(parameters, statistics)
            with tracing(module) as trace:
                module(images)
            names.extend(trace.activations)
            return list(trace.activations.values())

        require_images(images, self.height, self.width)
        names: list[str] = []
        values = jax.jit(forward)(self.parameters, self.statistics, images)
        return {name: np.array(value) for name, value in zip(names, values, strict=True)}
