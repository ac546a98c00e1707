"""The ways to execute a PyTorch network, one for each execution plan."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from backends import runtimes
from backends.onnx_export import onnx_bytes
from backends.plans import PLANS, RUNTIMES, require
from backends.torch_module import require_logits


class Forward:
    """Callable from an image tensor to logits, and the number of compilations that it took."""

    compilations = 0

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) float32 → logits (n, classes, h, w) float32, both on the device."""
        return self._function(images)


def forward_of(module: nn.Module, images: Tensor, plan: str) -> Forward:
    """The forward pass of `module` under a plan, for images like `images` on their device.

    Raises `BackendError` for an unknown plan, `Unsupported` for one of another device.
    """
    require(plan, PLANS["torch"], images.device.type)
    match plan:
        case "compile":
            return _Compiled(module)
        case "cuda-graphs":
            return _CudaGraph(module, images)
        case "eager-channels-first":
            return Forward(_channels_first(module))
        case "eager-tf32":
            return Forward(_tf32(module))
        case "eager-bfloat16":
            return Forward(_low_precision(module, torch.bfloat16))
        case "eager-float16":
            return Forward(_low_precision(module, torch.float16))
        case "tensorrt":
            return Forward(_tensorrt(module, images))
    if plan in {entry.key for entry in RUNTIMES}:
        return Forward(_deployed(module, images, plan))
    return Forward(module)


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


def set_float32_precision(precision: Literal["ieee", "tf32"]) -> None:
    """How a GPU multiplies float32 from now on: strictly (`ieee`) or rounded to TF32."""
    torch.backends.cudnn.conv.fp32_precision = precision  # pyright: ignore[reportAttributeAccessIssue]
    torch.backends.cuda.matmul.fp32_precision = precision


def _deployed(module: nn.Module, images: Tensor, plan: str) -> Callable[[Tensor], Tensor]:
    """The network exported and run by another runtime, which shares the tensors' memory."""
    height, width = images.shape[2:]
    model = onnx_bytes(module, height, width)
    run = runtimes.open_model(plan, model, tuple(images.shape), torch.get_num_threads())
    return lambda images: torch.from_numpy(run(images.numpy()))


def _tensorrt(module: nn.Module, images: Tensor) -> Callable[[Tensor], Tensor]:
    source = images.contiguous()
    with torch.inference_mode():
        logits = torch.empty_like(module(source), memory_format=torch.contiguous_format)
    shape = tuple(source.shape)
    model = onnx_bytes(module, images.shape[2], images.shape[3])
    run = runtimes.open_tensorrt(
        model, source.data_ptr(), logits.data_ptr(), shape, logits.shape[1]
    )

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


class _CudaGraph(Forward):
    """The kernels of one forward pass, recorded once and replayed with a single launch."""

    def __init__(self, module: nn.Module, images: Tensor) -> None:
        self._input = images
        with torch.inference_mode():
            side = torch.cuda.Stream()
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                for _ in range(3):
                    module(self._input)
            torch.cuda.current_stream().wait_stream(side)
            self._graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self._graph):
                self._output = module(self._input)
        super().__init__(self._replay)

    def _replay(self, images: Tensor) -> Tensor:
        if images is not self._input:
            self._input.copy_(images)
        self._graph.replay()
        return self._output
