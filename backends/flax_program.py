"""A Flax NNX network as pure functions of its weights: what trainer, inference and network share.

The functions take two flat dictionaries (parameters, running statistics) by canonical name: JAX
flattens a dictionary in C++, an `nnx.State` in Python, and a small network's whole latency is of
that order.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from copy import copy
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from backends.contract import Weights
from backends.errors import BackendError
from backends.flax_layers import shift_depthwise
from backends.plans import PLANS, Plan

Values = dict[str, jax.Array]
MATMUL_PRECISIONS = {
    "float32": "highest",
    "tf32": "tensorfloat32",
    "bfloat16": "default",
    "float16": "default",
}
REDUCED = ("bfloat16", "float16")


CANONICAL = frozenset({"kernel", "bias", "gamma", "beta", "mean", "variance", "alpha"})


def _definition_order(module: nnx.Module, prefix: str = "") -> list[str]:
    """Canonical names of all variables in the order in which the network defines them."""
    names = []
    for name, part in vars(module).items():
        if isinstance(part, nnx.Variable):
            names.append(prefix + name)
        elif isinstance(part, nnx.Module):
            names += _definition_order(part, f"{prefix}{name}.")
    return names


def reduced(parameters: Values, precision: str) -> Values:
    """Parameters in a reduced precision, those of normalisations as they are."""
    if precision not in REDUCED:
        return parameters
    return {
        name: value if name.endswith((".gamma", ".beta")) else value.astype(precision)
        for name, value in parameters.items()
    }


class FlaxProgram:
    """An NNX module, its weights on the device, and what was compiled of it for inference."""

    def __init__(self, module: nnx.Module, height: int, width: int) -> None:
        self.height, self.width = height, width
        for path, part in nnx.iter_modules(module):
            if isinstance(part, nnx.Dropout) and part.rate > 0:
                raise BackendError(
                    f"{'.'.join(map(str, path))!r} is Flax's own dropout, which would drop the "
                    "same values at each step here: use Dropout of backends/flax_layers.py."
                )
        self._graph, state = nnx.split(module)
        self._variables = {
            ".".join(map(str, path)): (path, variable)
            for path, variable in nnx.to_flat_state(state)
        }
        # Neither streams of random numbers nor caches: those are not weights.
        kinds = (nnx.Param, nnx.BatchStat)
        flat = [n for n, (_, v) in self._variables.items() if isinstance(v, kinds)]
        names = [name for name in _definition_order(module) if name in flat]
        own = {name.rpartition(".")[2] for name in flat}
        self.native = set(names) != set(flat) or not own <= CANONICAL
        self.names = flat if self.native else names
        self.parameters = self._put(nnx.Param)
        self.statistics = self._put(nnx.BatchStat)
        self.dtype = next((value.dtype for value in self.parameters.values()), np.dtype("float32"))
        self._reduced: dict[str, tuple[Values, Values]] = {}
        self._reduced_from: Values = {}
        self._executables: dict[tuple[str, int, bool], Any] = {}

    def _put(self, kind: type[nnx.Variable]) -> Values:
        """The variables of one kind on the device."""
        variables = {name: self._variables[name][1] for name in self.names}
        chosen = {n: v.get_value() for n, v in variables.items() if isinstance(v, kind)}
        return jax.device_put(chosen, may_alias=False)

    def load(self, weights: Weights) -> None:
        """Put weights on the device that were checked before."""
        # No aliases: a NumPy buffer shared with JAX must not be donated by training.
        self.parameters = jax.device_put({n: weights[n] for n in self.parameters}, may_alias=False)
        self.statistics = jax.device_put({n: weights[n] for n in self.statistics}, may_alias=False)

    def in_float64(self) -> FlaxProgram:
        """The same program on a float64 copy of the weights, nothing compiled yet.

        To be called, and what it returns to be used, under `jax.enable_x64`.
        """
        program = copy(self)
        program.parameters, program.statistics = (
            {name: jnp.asarray(value, jnp.float64) for name, value in kind.items()}
            for kind in (self.parameters, self.statistics)
        )
        program.dtype = np.dtype("float64")
        program._executables = {}
        return program

    def merge(
        self,
        parameters: Values,
        statistics: Values,
        *,
        training: bool = False,
        dropout: bool = False,
        shifted: bool = False,
    ) -> nnx.Module:
        """The module in the given mode, holding the given values (inside a trace)."""
        # What is not a weight, such as a stream of random numbers, stays as it was built.
        flat = dict(self._variables.values())
        for name, value in (parameters | statistics).items():
            path, variable = self._variables[name]
            flat[path] = variable.replace(value)
        module: nnx.Module = nnx.merge(self._graph, nnx.from_flat_state(flat))
        module.set_attributes(
            use_running_average=not training, deterministic=not dropout, raise_if_not_found=False
        )
        shift_depthwise(module, shifted)
        return module

    def values_in(self, precision: str) -> tuple[Values, Values]:
        """The weights as a plan of that precision takes them; normalisation stays float32."""
        if precision not in REDUCED:
            return self.parameters, self.statistics
        if self._reduced_from is not self.parameters:
            self._reduced_from = self.parameters
            self._reduced = {}
        if precision not in self._reduced:
            self._reduced[precision] = reduced(self.parameters, precision), self.statistics
        return self._reduced[precision]

    def forward(
        self, parameters: Values, statistics: Values, images: jax.Array, *, shifted: bool = False
    ) -> jax.Array:
        """Logits as a pure function of the weights, in inference mode."""
        module: Any = self.merge(parameters, statistics, shifted=shifted)
        return module(images)

    def executable(self, plan: Plan, batch: int, *, masks: bool) -> Any:
        """Compiled function from (parameters, statistics, images) to logits or uint8 masks."""
        key = (plan.key, batch, masks)
        if key not in self._executables:

            def answer(parameters: Values, statistics: Values, images: jax.Array) -> jax.Array:
                shifted = plan.key == "aot-shifted-depthwise"
                dtype = plan.precision if plan.precision in REDUCED else "float32"
                if self.native:  # layers of Flax's own take the wider of two dtypes
                    images = images.astype(dtype)
                logits = self.forward(parameters, statistics, images, shifted=shifted)
                if logits.dtype != dtype:
                    raise BackendError(
                        f"the network gives {logits.dtype} under plan {plan.key!r}, which computes "
                        f"in {dtype}: let layers take the dtype of their kernels."
                    )
                logits = logits.astype(jnp.float32)
                return logits.argmax(-1).astype(jnp.uint8) if masks else logits

            images = jax.ShapeDtypeStruct((batch, self.height, self.width, 1), jnp.float32)
            with jax.default_matmul_precision(MATMUL_PRECISIONS[plan.precision]):
                lowered = jax.jit(answer).lower(*self.values_in(plan.precision), images)
            self._executables[key] = lowered.compile()
        return self._executables[key]

    def forget(self, *, keep: Collection[int]) -> None:
        """Drop what was compiled for inference but the evaluation's own, of batch sizes `keep`."""
        default = PLANS["flax"][0].key
        self._executables = {
            (plan, batch, masks): executable
            for (plan, batch, masks), executable in self._executables.items()
            if plan == default and batch in keep and not masks
        }
        self._reduced = {}

    def running_values(self, module: nnx.Module, names: Iterable[str]) -> Values:
        """The running statistics that a module holds after it ran (inside a trace)."""
        after = dict(nnx.to_flat_state(nnx.state(module, nnx.BatchStat)))
        return {name: after[self._variables[name][0]][...] for name in names}
