"""PyTorch behind the contract."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from time import perf_counter
from typing import Any, ClassVar

import torch
from typing_extensions import override

from backends import runtimes
from backends.contract import Array, Backend, Bytes, Capabilities, Runtime
from backends.errors import Unsupported, require_device, require_size
from backends.plans import PLANS
from backends.torch_module import set_float32_precision
from backends.torch_network import TorchNetwork
from backends.torch_plans import matrix_product, require_plan


class TorchBackend(Backend):
    """PyTorch, eager by default.

    Determinism: on a CPU the same seed gives the same bits for the same number of threads. On a
    GPU deterministic algorithms are chosen if the runtime asks for it and PyTorch has one; it warns
    if it has none. Otherwise cuDNN tries its algorithms and takes the fastest.
    """

    name: ClassVar[str] = "torch"
    title: ClassVar[str] = "PyTorch"
    capabilities: ClassVar[Capabilities] = Capabilities(trains=True, plans=PLANS["torch"])

    @override
    def __init__(self, runtime: Runtime) -> None:
        seen = runtime.device == "cpu" or torch.cuda.is_available()
        require_device("PyTorch", runtime.device, seen)
        self._device = torch.device(runtime.device)
        if runtime.threads:
            torch.set_num_threads(runtime.threads)
        set_float32_precision("ieee")
        if runtime.device == "cuda":
            if runtime.deterministic:
                # cuBLAS reads this when its first handle is made.
                os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
            torch.backends.cudnn.benchmark = not runtime.deterministic
            torch.use_deterministic_algorithms(runtime.deterministic, warn_only=True)
            # Filling fresh memory would show in the timings and change no result of ours.
            torch.utils.deterministic.fill_uninitialized_memory = False  # pyright: ignore[reportAttributeAccessIssue]

    @override
    def build(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> TorchNetwork:
        require_size(height, width)
        build = partial(builder, classes=classes, height=height, width=width)
        return TorchNetwork(build, self._device, classes=classes, height=height, width=width)

    @override
    def versions(self) -> dict[str, str]:
        found = {"torch": str(torch.__version__), **runtimes.versions()}
        if torch.version.cuda:
            found["cuda"] = torch.version.cuda
            found["cudnn"] = str(torch.backends.cudnn.version())
        return found

    @override
    def memory(self) -> dict[str, Bytes]:
        if self._device.type == "cuda":
            return {
                "allocated_peak_bytes": Bytes(bytes=torch.cuda.max_memory_allocated(self._device)),
                "reserved_peak_bytes": Bytes(bytes=torch.cuda.max_memory_reserved(self._device)),
            }
        unknown = Bytes(bytes=None, reason="PyTorch does not count its memory on a CPU")
        return {"allocated_peak_bytes": unknown, "reserved_peak_bytes": unknown}

    @override
    def forget_memory_peaks(self) -> bool:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        return self._device.type == "cuda"

    @override
    def multiply(self, left: Array, right: Array, *, plan: str, repeats: int = 1) -> Array:
        precision = self._product_precision(plan)
        with torch.inference_mode():
            first, second = (torch.tensor(side, device=self._device) for side in (left, right))
            return matrix_product(first, second, precision, repeats).cpu().numpy()

    @override
    def product_seconds(self, size: int, *, plan: str, products: int) -> float:
        precision = self._product_precision(plan)
        with torch.inference_mode():
            dtype = getattr(torch, "float32" if precision == "tf32" else precision)
            # Of this spread a product keeps the size of the values.
            left, right = (
                (torch.randn(size, size, device=self._device) / size**0.5).to(dtype)
                for _ in range(2)
            )
            matrix_product(left, right, precision, 1)
            return self._seconds(lambda: matrix_product(left, right, precision, products))

    def _product_precision(self, plan: str) -> str:
        precision = require_plan(plan, self._device).precision
        if precision == "int8":
            raise Unsupported(
                f"PyTorch offers no product of 8-bit integers to probe {plan!r} with."
            )
        return precision

    def _seconds(self, work: Callable[[], Any]) -> float:
        if self._device.type != "cuda":
            begin = perf_counter()
            work()
            return perf_counter() - begin
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        torch.cuda.synchronize(self._device)
        return begin.elapsed_time(end) / 1e3
