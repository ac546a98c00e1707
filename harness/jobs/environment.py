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
# What these variables of a user's shell say would change what a framework computes, or by which
# way: `TORCHDYNAMO_DISABLE` makes the plan compile eager, `NVIDIA_TF32_OVERRIDE` float32 TF32. No
# process that computes gets them; what it needs is set below. Where caches lie may be said.
STEERING = (
    *("TORCH", "PYTORCH", "NVIDIA_TF32_OVERRIDE", "JAX_", "XLA_", "TF_", "KERAS_", "FLAX_"),
    *(
        "OMP_",
        "GOMP_",
        "KMP_",
        "MKL_",
        "OPENBLAS_",
        "ONEDNN_",
        "DNNL_",
        "CUBLAS_",
        "CUDNN_",
        "ORT_",
    ),
)
HARMLESS = ("_HOME", "_CACHE_DIR", "_DATA_DIR", "_LOG_LEVEL", "_PREALLOCATE", "JAX_PLATFORMS")
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


def steers(name: str) -> bool:
    """Whether a variable of this name may change what a framework computes.

    XLA's flags may say where CUDA lies: they stay, without determinism, and the record has them.
    """
    harmless = name == XLA_FLAGS or (name.endswith(HARMLESS) and name != "KERAS_HOME")
    return name.startswith(STEERING) and not harmless


def forget_steering() -> None:
    """Remove what steers a framework from the environment of this process, for its commands."""
    for name in [name for name in os.environ if steers(name)]:
        del os.environ[name]


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
    variables = {name: value for name, value in os.environ.items() if not steers(name)}
    variables = _without_determinism(variables) | {
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
        # Neither read ~/.keras/keras.json, whose floatx may be float16, nor write it.
        "KERAS_HOME": os.devnull,
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
