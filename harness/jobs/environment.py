"""The environment of a worker, set before any framework is imported."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from backends import plans
from harness import cores
from harness.errors import EnvironmentFault
from harness.jobs import interpreters
from harness.registry import KERAS_ENGINES

DeviceChoice = Literal["auto", "cpu", "cuda"]
ROOT = Path(__file__).parents[2]
# What the driver makes for a GPU: on Linux, in a container that has any of several, and in WSL2.
GPU_FILES = os.pathsep.join(("/proc/driver/nvidia/gpus/*", "/dev/nvidia[0-9]*", "/dev/dxg"))
# Other patterns, so that a test can pretend that there is one.
GPU_FILES_VARIABLE = "FETALBENCH_GPU_FILES"
# By these, cuBLAS and TensorFlow are deterministic, and cuDNN chooses without trying.
DETERMINISM = (
    "CUBLAS_WORKSPACE_CONFIG",
    "TF_DETERMINISTIC_OPS",
    "TF_CUDNN_DETERMINISTIC",
    "TF_CUDNN_USE_AUTOTUNE",
)
XLA_FLAGS = "XLA_FLAGS"


def gpu_present() -> bool:
    """Whether the NVIDIA driver shows a GPU that CUDA may see; a file proves no more than that."""
    if os.environ.get("CUDA_VISIBLE_DEVICES", "0").strip() in ("", "-1"):
        return False
    patterns = os.environ.get(GPU_FILES_VARIABLE, GPU_FILES).split(os.pathsep)
    return any(glob.glob(pattern) for pattern in patterns if pattern)  # noqa: PTH207


def planned_device(choice: DeviceChoice) -> Literal["cpu", "cuda"]:
    """Where cells would run, without asking whether they may."""
    if choice == "auto":
        return "cuda" if gpu_present() else "cpu"
    return choice


def worker_threads(threads: int) -> int:
    """Equal thread counts for all frameworks: those asked for, or one per usable core.

    Raises `EnvironmentFault` if more are asked for than there are cores.
    """
    usable = cores.count()
    if threads > usable:
        raise EnvironmentFault(
            f"the protocol asks for {threads} threads, this process may use {usable} cores: lower "
            "measuring.threads."
        )
    return threads or usable


def engine_cache(folder: Path, *, fresh: bool) -> dict[str, str]:
    """Variables that declare where TensorRT keeps its engines, and whether to build them again."""
    return {plans.ENGINES: str(folder)} | ({plans.FRESH_ENGINES: "1"} if fresh else {})


def _without_determinism(variables: Mapping[str, str]) -> dict[str, str]:
    """The variables without what a user's shell may ask of any process."""
    kept = {name: value for name, value in variables.items() if name not in DETERMINISM}
    if XLA_FLAGS in kept:
        words = kept[XLA_FLAGS].split()
        kept[XLA_FLAGS] = " ".join(word for word in words if "deterministic_ops" not in word)
    return kept


def worker_environment(
    backend: str,
    device: str,
    threads: int,
    cache: Path | None = None,
    inductor: Path | None = None,
    *,
    deterministic: bool = False,
) -> dict[str, str]:
    """Variables for one worker, none of which asks for determinism unless `deterministic`.

    `cache` keeps XLA's compilations, never for published compile times; `inductor` is where
    `torch.compile` keeps its own, empty for those.
    """
    count = str(threads)
    variables = _without_determinism(os.environ) | {
        "OMP_NUM_THREADS": count,
        "MKL_NUM_THREADS": count,
        "OPENBLAS_NUM_THREADS": count,
        "TF_NUM_INTRAOP_THREADS": count,
        "TF_NUM_INTEROP_THREADS": "1",
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "TF_FORCE_GPU_ALLOW_GROWTH": "true",
        "XLA_PYTHON_CLIENT_PREALLOCATE": "false",
        # CUDA's own order is by speed: an index would name another GPU than the driver's does.
        "CUDA_DEVICE_ORDER": "PCI_BUS_ID",
        "PYTHONHASHSEED": "0",
        # A worker is where its framework is: it asks nobody else.
        interpreters.VARIABLE: "",
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    }
    if deterministic:
        variables["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    if backend in KERAS_ENGINES:
        variables["KERAS_BACKEND"] = KERAS_ENGINES[backend]
    if device == "cpu":
        variables |= {"CUDA_VISIBLE_DEVICES": "", "JAX_PLATFORMS": "cpu"}
    if cache is not None:
        variables |= {
            "JAX_COMPILATION_CACHE_DIR": str(cache),
            "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
        }
    if inductor is not None:
        variables["TORCHINDUCTOR_CACHE_DIR"] = str(inductor)
    return variables
