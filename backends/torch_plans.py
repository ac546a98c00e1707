"""The ways to execute a PyTorch network, each an execution plan with a key of its own."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from backends import runtimes
from backends.contract import Array, Inference, Plan
from backends.errors import BackendError, SizeError, Unsupported
from backends.onnx_export import onnx_bytes

if TYPE_CHECKING:
    from backends.torch_network import TorchNetwork

PLANS = (
    Plan(key="eager", title="eager"),
    Plan(key="eager-channels-first", title="eager, channels-first memory"),
    Plan(key="compile", title="torch.compile, weights frozen"),
    Plan(key="cuda-graphs", title="CUDA graph", devices=("cuda",)),
    Plan(key="eager-tf32", title="eager, TF32", precision="tf32", devices=("cuda",)),
    Plan(key="eager-bfloat16", title="eager, bfloat16", precision="bfloat16"),
    Plan(key="eager-float16", title="eager, float16", precision="float16", devices=("cuda",)),
    *runtimes.PLANS,
    runtimes.TENSORRT,
)


class Forward:
    """Callable from an image tensor to logits, and the number of compilations that it took."""

    compilations = 0

    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        self._function = function

    def __call__(self, images: Tensor) -> Tensor:
        """(n, 1, h, w) float32 → logits (n, classes, h, w) float32, both on the device."""
        return self._function(images)


class TorchInference(Inference):
    """One network, one plan, one batch."""

    def __init__(
        self,
        network: TorchNetwork,
        images: Array,
        plan: str,
        quantity: Literal["forward", "end_to_end"],
    ) -> None:
        self._network = network
        self._host = writable(images)
        # A tensor of our own: what the caller does to the array later must not reach it.
        self._input = network.to_device(images).clone()
        self._forward = forward_of(network.module, self._input, plan)
        self._query = self._forward_query if quantity == "forward" else self._end_to_end_query

    def set_images(self, images: Array) -> None:
        """See `Inference.set_images`; raises `SizeError`."""
        if images.shape != self._host.shape:
            raise SizeError(
                f"images have shape {images.shape}, expected {self._host.shape}: prepare anew."
            )
        self._host = writable(images)
        with torch.inference_mode():
            self._input.copy_(self._network.to_device(images))
        self.synchronise(None)

    @torch.inference_mode()
    def launch(self) -> Any:
        """See `Inference.launch`."""
        self._network.enter("eval")
        return self._query()

    def _forward_query(self) -> Tensor:
        return self._forward(self._input)

    def _end_to_end_query(self) -> Array:
        return masks_of(self._forward(self._network.to_device(self._host))).cpu().numpy()

    def synchronise(self, result: Any) -> None:  # noqa: ARG002
        """See `Inference.synchronise`."""
        if self._network.device.type == "cuda":
            torch.cuda.synchronize(self._network.device)

    def logits(self, result: Any) -> Array:
        """See `Inference.logits`."""
        return np.ascontiguousarray(result.permute(0, 2, 3, 1).cpu().numpy())

    def compilations(self) -> int:
        """See `Inference.compilations`."""
        return self._forward.compilations


def writable(images: Array) -> Array:
    """`images`, or a copy where PyTorch could not share their memory: read-only ones."""
    return images if images.flags.writeable else images.copy()


def masks_of(logits: Tensor) -> Tensor:
    """Arg-max of logits (n, classes, h, w) as (n, h, w) uint8, ties to the lower class."""
    if logits.shape[1] == 2:
        # The same answer 10 times faster than `argmax` over a last axis of two.
        return (logits[:, 1] > logits[:, 0]).to(torch.uint8)
    return logits.argmax(1).to(torch.uint8)


def forward_of(module: nn.Module, images: Tensor, plan: str) -> Forward:
    """The forward pass of `module` under a plan, for images like `images` on their device.

    Raises `Unsupported` where the plan does not run on that device.
    """
    require_plan(plan, images.device)
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
    if plan in {entry.key for entry in runtimes.PLANS}:
        return Forward(_deployed(module, images, plan))
    return Forward(module)


def require_plan(plan: str, device: torch.device) -> Plan:
    """The plan of that key. Raises `BackendError`, or `Unsupported` on a device without it."""
    known = {entry.key: entry for entry in PLANS}
    if plan not in known:
        raise BackendError(f"unknown plan {plan!r} for PyTorch: choose one of {', '.join(known)}.")
    if device.type not in known[plan].devices:
        needed = " or ".join(known[plan].devices)
        raise Unsupported(f"plan {plan!r} needs {needed}, not {device.type}.")
    return known[plan]


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
        if not isinstance(layer, nn.BatchNorm2d):
            for parameter in layer.parameters(recurse=False):
                parameter.data = parameter.data.to(dtype)
    return lambda images: reduced(images.to(dtype)).float()


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
