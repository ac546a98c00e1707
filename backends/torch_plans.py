"""The ways to execute a PyTorch network, one for each execution plan."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from backends import runtimes
from backends.contract import Array
from backends.onnx_export import onnx_bytes
from backends.plans import PLANS, RUNTIMES, Plan, require, require_tf32
from backends.quantisation import quantised
from backends.tensorrt_engine import Addresses, open_tensorrt
from backends.torch_module import require_logits, set_float32_precision


class Forward:
    """Callable from an image tensor to logits, and the number of compilations that it took."""

    compilations = 0

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) float32 → logits (n, classes, h, w) float32, both on the device."""
        return self._function(images)


def forward_of(
    module: nn.Module, images: Tensor, plan: str, calibration: Array | None = None
) -> Forward:
    """The forward pass of `module` under a plan, for images like `images` on their device.

    `calibration` are (n, h, w, 1) images for plans in int8; without them `images` serve.
    Raises `BackendError` for an unknown plan, `Unsupported` for one of another device.
    """
    precision = require_plan(plan, images.device).precision
    match plan:
        case "compile":
            return _Compiled(module)
        case "eager-channels-first":
            return Forward(_channels_first(module))
        case "eager-tf32" | "eager-bfloat16" | "eager-float16":
            return Forward(in_precision(module, precision))
    if plan in ("tensorrt", "tensorrt-int8", *(entry.key for entry in RUNTIMES)):
        height, width = images.shape[2:]
        model = onnx_bytes(module, height, width)
        if precision == "int8":
            model = quantised(
                model,
                _channels_first_array(images, calibration),
                symmetric=plan.startswith("tensorrt"),
            )
        if plan.startswith("tensorrt"):
            return Forward(_tensorrt(module, model, images))
        return Forward(_deployed(model, images, plan))
    return Forward(module)


def require_plan(key: str, device: torch.device) -> Plan:
    """The plan of that key if this device runs it. Raises `BackendError`, `Unsupported`."""
    plan = require(key, PLANS["torch"], device.type)
    if device.type == "cuda":
        require_tf32(plan, torch.cuda.get_device_capability(device))
    return plan


def in_precision(module: nn.Module, precision: str) -> Callable[[Tensor], Tensor]:
    """The network in eager mode, from float32 images to float32 logits, in that precision."""
    match precision:
        case "tf32":
            return _tf32(module)
        case "bfloat16" | "float16":
            return _low_precision(module, getattr(torch, precision))
    return module


def matrix_product(left: Tensor, right: Tensor, precision: str, repeats: int) -> Tensor:
    """left · right^repeats, one product after the other, as float32."""
    if precision in ("bfloat16", "float16"):
        dtype = getattr(torch, precision)
        left, right = left.to(dtype), right.to(dtype)
    set_float32_precision("tf32" if precision == "tf32" else "ieee")
    try:
        for _ in range(repeats):
            left = left @ right
    finally:
        set_float32_precision("ieee")
    return left.float()


def _channels_first(module: nn.Module) -> Callable[[Tensor], Tensor]:
    plain = copy.deepcopy(module).to(memory_format=torch.contiguous_format)  # pyright: ignore[reportCallIssue]
    return lambda images: plain(images.reshape(images.shape[0], 1, *images.shape[2:]))


def _low_precision(module: nn.Module, dtype: torch.dtype) -> Callable[[Tensor], Tensor]:
    reduced = copy.deepcopy(module)
    for layer in reduced.modules():
        # Batch normalisation keeps float32 statistics: PyTorch mixes the two by itself.
        if isinstance(layer, _BatchNorm):
            continue
        for tensor in (*layer.parameters(recurse=False), *layer.buffers(recurse=False)):
            if tensor.is_floating_point():
                tensor.data = tensor.data.to(dtype)
    return lambda images: require_logits(reduced(images.to(dtype)), dtype).float()


def _tf32(module: nn.Module) -> Callable[[Tensor], Tensor]:
    def forward(images: Tensor) -> Tensor:
        set_float32_precision("tf32")
        try:
            return module(images)
        finally:
            set_float32_precision("ieee")

    return forward


def _channels_first_array(images: Tensor, calibration: Array | None) -> Array:
    """Calibration images (n, 1, h, w) on the host; without any, those of the query."""
    if calibration is None:
        return images.contiguous().cpu().numpy()
    return np.ascontiguousarray(calibration.transpose(0, 3, 1, 2))


def _deployed(model: bytes, images: Tensor, plan: str) -> Callable[[Tensor], Tensor]:
    """The exported network run by another runtime, which shares the tensors' memory."""
    run = runtimes.open_model(plan, model, tuple(images.shape), torch.get_num_threads())
    return lambda images: torch.from_numpy(run(images.numpy()))


def _tensorrt(module: nn.Module, model: bytes, images: Tensor) -> Callable[[Tensor], Tensor]:
    source = images.contiguous()
    with torch.inference_mode():
        logits = torch.empty_like(module(source), memory_format=torch.contiguous_format)
    shape = tuple(source.shape)
    where = Addresses(
        images=source.data_ptr(), logits=logits.data_ptr(), shape=shape, classes=logits.shape[1]
    )
    run = open_tensorrt(model, where, torch.cuda.get_device_name(source.device))

    def forward(images: Tensor) -> Tensor:
        if images.data_ptr() != source.data_ptr():
            source.copy_(images)
        torch.cuda.current_stream().synchronize()
        run()
        return logits

    return forward


class _Compiled(Forward):
    """`torch.compile` with the weights as constants; counts each graph that it compiles."""

    def __init__(self, module: nn.Module) -> None:
        with warnings.catch_warnings():
            # The compiler uses parts of PyTorch that PyTorch itself calls deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            from torch._dynamo import config
            from torch._inductor.compile_fx import compile_fx

        # One code object serves every batch size and input size of a network.
        config.recompile_limit = max(config.recompile_limit, 64)

        def backend(graph: Any, inputs: Any) -> Any:
            self.compilations += 1
            return compile_fx(graph, inputs, config_patches={"freezing": True})

        super().__init__(torch.compile(module, fullgraph=True, dynamic=False, backend=backend))
