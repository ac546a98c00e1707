"""Execution plans of the Flax backend, and the query that is timed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from backends.contract import Array, Inference, Plan
from backends.errors import SizeError, Unsupported, require_images

if TYPE_CHECKING:
    from backends.flax_network import FlaxNetwork

PLANS = (
    Plan(key="aot", title="jit, compiled ahead of time"),
    Plan(
        key="aot-shifted-depthwise",
        title="jit ahead of time, depthwise convolutions as shifted multiply-adds",
        devices=("cpu",),
    ),
    Plan(key="aot-tf32", title="jit ahead of time, TF32", precision="tf32", devices=("cuda",)),
    Plan(key="aot-bfloat16", title="jit ahead of time, bfloat16", precision="bfloat16"),
    Plan(
        key="aot-float16",
        title="jit ahead of time, float16",
        precision="float16",
        devices=("cuda",),
    ),
)
MATMUL_PRECISIONS = {
    "float32": "highest",
    "tf32": "tensorfloat32",
    "bfloat16": "default",
    "float16": "default",
}
REDUCED = ("bfloat16", "float16")
_compilations = 0


def _count_compilation(event: str, duration_secs: float, **kwargs: str | int) -> None:  # noqa: ARG001
    global _compilations
    _compilations += event == "/jax/core/compile/backend_compile_duration"


jax.monitoring.register_event_duration_secs_listener(_count_compilation)


class FlaxInference(Inference):
    """One executable on one batch. The network's weights are read anew at each query."""

    def __init__(self, network: FlaxNetwork, images: Array, plan: Plan, quantity: str) -> None:
        self._network, self._plan = network, plan
        self._to_host = quantity == "end_to_end"
        self._run = network.executable(plan, len(images), masks=self._to_host)
        self._batch = len(images)
        network.values_in(plan.precision)  # cast here, not in the first query
        self.set_images(images)

    def set_images(self, images: Array) -> None:
        require_images(images, self._network.height, self._network.width)
        if len(images) != self._batch:
            raise SizeError(f"got {len(images)} images, this query was prepared for {self._batch}.")
        self._images = images if self._to_host else jax.block_until_ready(jax.device_put(images))

    def launch(self) -> Any:
        result = self._run(*self._network.values_in(self._plan.precision), self._images)
        return np.asarray(result) if self._to_host else result

    def synchronise(self, result: Any) -> None:
        jax.block_until_ready(result)

    def logits(self, result: Any) -> Array:
        return np.asarray(result)

    def compilations(self) -> int:
        """Compilations of the whole process, counted by JAX's own monitoring events."""
        return _compilations


def require_plan(key: str) -> Plan:
    """The plan of that key. Raises `Unsupported` where the device of this process has none."""
    device = "cuda" if jax.devices()[0].platform == "gpu" else "cpu"
    offered = {plan.key: plan for plan in PLANS if device in plan.devices}
    if key not in offered:
        raise Unsupported(
            f"Backend 'flax' has no plan {key!r} on {device}: choose among {', '.join(offered)}."
        )
    return offered[key]
