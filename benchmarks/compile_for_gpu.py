"""XLA's GPU compiler on the Flax networks, for an H100 that is not there.

The compiler is in the CUDA plugin's wheel and needs no driver, only a description of the target:

    pip install --no-deps --target PLUGIN \\
        jax-cuda12-plugin==V jax-cuda12-pjrt==V nvidia-cuda-nvcc-cu12
    python -m benchmarks.compile_for_gpu PLUGIN [--networks rfbsnet,unet] [--size 256] [--batch 8]

with V that of the installed JAX. Each network's forward pass in float32, in float64 (from which
masks are scored) and its training step are lowered and compiled with deterministic operations; one
JSON row each. Exit code 1 if one does not compile. It shows that there is a kernel for each
operation; it shows no speed, since algorithms are chosen on the device.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import time
from pathlib import Path
from typing import Any

# A description of an H100 SXM in the form of XLA's GpuTargetConfigProto.
TARGET = """
gpu_device_info {
  threads_per_block_limit: 1024
  threads_per_warp: 32
  shared_memory_per_block: 49152
  shared_memory_per_core: 233472
  threads_per_core_limit: 2048
  core_count: 132
  fpus_per_core: 128
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  memory_bandwidth: 3352320000000
  l2_cache_size: 52428800
  clock_rate_ghz: 1.98
  device_memory_size: 84942979072
  shared_memory_per_block_optin: 232448
  cuda_compute_capability { major: 9 minor: 0 }
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 8 patch: 0 }
runtime_version { major: 12 minor: 9 patch: 0 }
device_description_str: "NVIDIA H100 80GB HBM3"
"""
CALLS = re.compile(r'custom_call_target="([^"]+)"')


class Compiler:
    """Compiles functions of arrays for the target."""

    def __init__(self) -> None:
        import jax
        from jax.experimental import topologies
        from jax.sharding import SingleDeviceSharding

        target = topologies.get_topology_desc(
            "h100", platform="cuda", topology="1x1x1", target_config=TARGET
        )
        self._place = SingleDeviceSharding(target.devices[0])
        self._jax = jax

    def there(self, tree: Any) -> Any:
        """Shapes and types of arrays as if they lay on the target."""

        def described(value: Any) -> Any:
            value = self._jax.numpy.asarray(value)
            return self._jax.ShapeDtypeStruct(value.shape, value.dtype, sharding=self._place)

        return self._jax.tree.map(described, tree)

    def row(self, function: Any, *arrays: Any, **options: Any) -> dict[str, Any]:
        """Compile; seconds, temporary memory and calls of libraries, or the error."""
        start = time.perf_counter()
        try:
            lowered = self._jax.jit(function, **options).lower(*self.there(arrays))
            compiled = lowered.compile()
        except Exception as error:
            return {"error": f"{type(error).__name__}: {str(error).splitlines()[0]}"}
        calls, memory = CALLS.findall(compiled.as_text() or ""), compiled.memory_analysis()
        return {
            "seconds": round(time.perf_counter() - start, 1),
            "temporary_bytes": memory and memory.temp_size_in_bytes,
            "library_calls": {name: calls.count(name) for name in sorted(set(calls))},
        }


def rows(names: list[str], size: int, batch: int) -> Any:
    """One row for each network and what is compiled of it."""
    import jax
    import numpy as np

    from backends.contract import Runtime, TrainingOptions
    from backends.flax_backend import FlaxBackend
    from backends.flax_program import MATMUL_PRECISIONS
    from harness import registry

    backend, compiler = FlaxBackend(Runtime()), Compiler()
    for name in names:
        network: Any = registry.build(backend, name, height=size, width=size)
        program = network.program
        images = np.zeros((batch, size, size, 1), np.float32)
        place = {"network": name, "size": size, "batch": batch}
        weights = (program.parameters, program.statistics)
        with jax.default_matmul_precision(MATMUL_PRECISIONS["float32"]):
            yield place | {"what": "forward"} | compiler.row(program.forward, *weights, images)
        with jax.enable_x64(True):
            exact = program.in_float64()
            doubles = (exact.parameters, exact.statistics, images.astype(np.float64))
            yield place | {"what": "float64"} | compiler.row(exact.forward, *doubles)
        trainer: Any = network.trainer(TrainingOptions(loss="dice_ce", seed=0, batch_size=batch))
        first = {key: np.zeros(value.shape, value.dtype) for key, value in weights[0].items()}
        masks, order = np.zeros(images.shape[:3], np.uint8), np.arange(batch, dtype=np.int32)
        step = (*weights, first, first, images, masks, order, np.ones(3, np.float32))
        key = jax.random.key(0, impl="rbg")
        donated = {"donate_argnums": (0, 1, 2, 3)}
        found = compiler.row(trainer._compute, *step, key, np.int32(0), **donated)
        yield place | {"what": "training step"} | found


def main() -> int:
    """Parse, compile, print."""
    from harness import registry

    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("plugin", type=Path)
    parser.add_argument("--networks", default="")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--batch", type=int, default=8)
    chosen = parser.parse_args()
    if not (chosen.plugin / "jax_plugins").is_dir():
        print(f"{chosen.plugin}: holds no jax_plugins; see --help.", file=sys.stderr)
        return 2
    os.environ["JAX_PLATFORMS"] = "cpu"
    os.environ["XLA_FLAGS"] = "--xla_gpu_deterministic_ops=true"
    sys.path.insert(0, str(chosen.plugin.resolve()))
    known = [name for name, entry in registry.networks().items() if entry.implements("flax")]
    failed = False
    for row in rows(
        chosen.networks.split(",") if chosen.networks else known, chosen.size, chosen.batch
    ):
        failed |= "error" in row
        print(json.dumps(row), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
