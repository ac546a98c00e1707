"""Flax NNX on JAX.

On a CPU the number of threads is fixed when XLA's client starts, which is at the first array.
`FlaxBackend` therefore sets XLA's own variable NPROC; a launcher that pins the process (affinity)
has the same effect. After the first array nothing can be changed.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from importlib.metadata import version
from time import perf_counter
from typing import Any

# Before JAX starts its client: take memory as needed, so that peaks can be measured.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import flax
import jax
import jax.numpy as jnp
import numpy as np
from typing_extensions import override

from backends.contract import Array, Backend, Bytes, Capabilities, Runtime
from backends.errors import require_device, require_size
from backends.flax_inference import plan_of
from backends.flax_network import FlaxNetwork
from backends.flax_program import MATMUL_PRECISIONS, REDUCED
from backends.plans import PLANS


@jax.jit
def _multiply(left: jax.Array, right: jax.Array, repeats: jax.Array) -> jax.Array:
    """left · right^repeats; a loop whose length XLA does not know cannot be simplified."""
    return jax.lax.fori_loop(0, repeats, lambda _, product: product @ right, left)


class FlaxBackend(Backend):
    """Flax NNX on JAX, compiled by XLA."""

    name = "flax"
    title = "JAX / Flax"
    capabilities = Capabilities(trains=True, plans=PLANS["flax"])

    @override
    def __init__(self, runtime: Runtime) -> None:
        if runtime.threads:
            os.environ["NPROC"] = str(runtime.threads)
        if runtime.deterministic and runtime.device == "cuda":
            flags = os.environ.get("XLA_FLAGS", "")
            os.environ["XLA_FLAGS"] = f"{flags} --xla_gpu_deterministic_ops=true".strip()
        jax.config.update("jax_platforms", runtime.device)
        # Strict float32: GPUs would otherwise multiply in TF32.
        jax.config.update("jax_default_matmul_precision", "highest")
        platform_name = "gpu" if runtime.device == "cuda" else "cpu"
        try:
            self._device = jax.devices()[0]
        except (RuntimeError, AssertionError) as error:  # the latter without a CUDA plugin
            require_device("JAX", runtime.device, False, str(error).partition("\n")[0])
            raise
        require_device("JAX", runtime.device, self._device.platform == platform_name)

    @override
    def build(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> FlaxNetwork:
        require_size(height, width)
        return FlaxNetwork(builder, classes, height, width)

    @override
    def multiply(self, left: Array, right: Array, *, plan: str, repeats: int = 1) -> Array:
        precision = plan_of(plan).precision
        dtype = precision if precision in REDUCED else "float32"
        with jax.default_matmul_precision(MATMUL_PRECISIONS[precision]):
            product = _multiply(jnp.asarray(left, dtype), jnp.asarray(right, dtype), repeats)
        return np.asarray(product, np.float32)

    @override
    def product_seconds(self, size: int, *, plan: str, products: int) -> float:
        precision = plan_of(plan).precision
        dtype = precision if precision in REDUCED else "float32"
        left, right = (
            (jax.random.normal(jax.random.key(seed), (size, size)) / size**0.5).astype(dtype)
            for seed in (0, 1)
        )
        with jax.default_matmul_precision(MATMUL_PRECISIONS[precision]):
            jax.block_until_ready(_multiply(left, right, 1))
            begin = perf_counter()
            jax.block_until_ready(_multiply(left, right, products))
            return perf_counter() - begin

    @override
    def versions(self) -> dict[str, str]:
        return {
            "flax": flax.__version__,
            "jax": jax.__version__,
            "jaxlib": version("jaxlib"),
            "platform": self._device.client.platform_version,
        }

    @override
    def memory(self) -> dict[str, Bytes]:
        statistics = self._device.memory_stats() or {}
        reason = f"JAX keeps no memory statistics on the device {self._device.platform!r}"
        keys = {
            "allocated_peak_bytes": "peak_bytes_in_use",
            "reserved_peak_bytes": "peak_pool_bytes",
        }
        return {
            quantity: Bytes(bytes=statistics[key])
            if key in statistics
            else Bytes(bytes=None, reason=reason)
            for quantity, key in keys.items()
        }
