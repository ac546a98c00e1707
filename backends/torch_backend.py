"""PyTorch behind the contract."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import torch

from backends import runtimes
from backends.contract import (
    Array,
    Backend,
    Bytes,
    Capabilities,
    Runtime,
)
from backends.errors import require_device, require_size
from backends.torch_network import TorchNetwork
from backends.torch_plans import PLANS, matrix_product, require_plan, set_float32_precision


class TorchBackend(Backend):
    """PyTorch, eager by default.

    Determinism: on a CPU the same seed gives the same bits for the same number of threads. On a
    GPU deterministic algorithms are chosen where PyTorch has one, and it warns where it has none.
    """

    name: ClassVar[str] = "torch"
    title: ClassVar[str] = "PyTorch"
    extra: ClassVar[str | None] = "torch"
    capabilities: ClassVar[Capabilities] = Capabilities(
        trains=True, asynchronous=True, devices=("cpu", "cuda"), plans=PLANS
    )

    def __init__(self, runtime: Runtime) -> None:
        """Apply threads, determinism and strict float32. Raises `NoDevice` without the GPU."""
        seen = runtime.device == "cpu" or torch.cuda.is_available()
        require_device("PyTorch", runtime.device, seen)
        self._device = torch.device(runtime.device)
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        set_float32_precision("ieee")
        if runtime.device == "cuda":
            # cuBLAS reads this when its first handle is made.
            os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cudnn.benchmark = not runtime.deterministic
            torch.use_deterministic_algorithms(runtime.deterministic, warn_only=True)
            # Filling fresh memory would show in the timings and change no result of ours.
            torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]

    def build(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> TorchNetwork:
        """See `Backend.build`."""
        require_size(height, width)
        build = partial(builder, classes=classes, height=height, width=width)
        return TorchNetwork(build, self._device, classes=classes, height=height, width=width)

    def versions(self) -> dict[str, str]:
        """Versions of PyTorch, of CUDA and cuDNN where the build has them, and of the runtimes."""
        found = {"torch": str(torch.__version__), **runtimes.versions()}
        if torch.version.cuda:
            found["cuda"] = torch.version.cuda
            found["cudnn"] = str(torch.backends.cudnn.version())
        return found

    def device_title(self) -> str:
        """See `Backend.device_title`."""
        if self._device.type == "cuda":
            return torch.cuda.get_device_name(self._device)
        return _cpu_title()

    def memory(self) -> dict[str, Bytes]:
        """See `Backend.memory`."""
        if self._device.type == "cuda":
            return {
                "allocated_peak_bytes": Bytes(bytes=torch.cuda.max_memory_allocated(self._device)),
                "reserved_peak_bytes": Bytes(bytes=torch.cuda.max_memory_reserved(self._device)),
            }
        unknown = Bytes(bytes=None, reason="PyTorch does not count its memory on a CPU")
        return {"allocated_peak_bytes": unknown, "reserved_peak_bytes": unknown}

    def forget_memory_peaks(self) -> bool:
        """See `Backend.forget_memory_peaks`."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        return self._device.type == "cuda"

    def multiply(self, left: Array, right: Array, *, plan: str, repeats: int = 1) -> Array:
        """See `Backend.multiply`."""
        precision = require_plan(plan, self._device).precision
        with torch.inference_mode():
            first, second = (torch.tensor(side, device=self._device) for side in (left, right))
            return matrix_product(first, second, precision, repeats).cpu().numpy()


def _cpu_title() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
