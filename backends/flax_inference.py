"""The query that is timed: one Flax network, one plan, one batch."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from typing_extensions import override

from backends.contract import Array, Inference
from backends.errors import require_shape
from backends.flax_program import FlaxProgram
from backends.plans import PLANS, Plan, require, require_tf32

_compilations = 0


def _count_compilation(event: str, duration_secs: float, **kwargs: str | int) -> None:  # noqa: ARG001
    global _compilations
    _compilations += event == "/jax/core/compile/backend_compile_duration"


jax.monitoring.register_event_duration_secs_listener(_count_compilation)


class FlaxInference(Inference):
    """One executable on one batch. The network's weights are read again at each query."""

    def __init__(self, program: FlaxProgram, images: Array, plan: Plan, quantity: str) -> None:
        self._program, self._plan = program, plan
        self._to_host = quantity == "end_to_end"
        self._run = program.executable(plan, len(images), masks=self._to_host)
        self._shape = images.shape
        program.values_in(plan.precision)  # cast here, not in the first query
        self.set_images(images)

    @override
    def set_images(self, images: Array) -> None:
        require_shape(images, self._shape)
        self._images = images if self._to_host else jax.block_until_ready(jax.device_put(images))

    @override
    def launch(self) -> Any:
        result = self._run(*self._program.values_in(self._plan.precision), self._images)
        return np.asarray(result) if self._to_host else result

    @override
    def synchronise(self, result: Any) -> None:
        jax.block_until_ready(result)

    @override
    def logits(self, result: Any) -> Array:
        return np.asarray(result)

    @override
    def compilations(self) -> int:
        """Compilations of the whole process, counted by JAX's own monitoring events."""
        return _compilations


def plan_of(key: str) -> Plan:
    """The plan of that key on the device of this process. Raises `BackendError`, `Unsupported`."""
    device = "cuda" if jax.devices()[0].platform == "gpu" else "cpu"
    plan = require(key, PLANS["flax"], device)
    # "8.0" for an A100; a device that is not a CUDA GPU has none.
    found = str(getattr(jax.devices()[0], "compute_capability", "") or "")
    major, _, minor = found.partition(".")
    require_tf32(plan, (int(major), int(minor)) if minor.isdecimal() else None)
    return plan
