"""What a PyTorch network computes: its operations, counted below the layers, and activations."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from backends.contract import Array, Operation, OperationKind
from backends.errors import Unsupported
from backends.torch_layers import ChannelShuffle

_aten = torch.ops.aten

_KINDS: dict[Any, OperationKind] = {
    _aten.native_batch_norm: "batch_norm",
    _aten._native_batch_norm_legit_no_training: "batch_norm",
    _aten.cudnn_batch_norm: "batch_norm",
    _aten.add: "add",
    _aten.add_: "add",
    _aten.mul: "multiply",
    _aten.mul_: "multiply",
    _aten.max_pool2d_with_indices: "max_pool",
    _aten.avg_pool2d: "average_pool",
    _aten.mean: "global_mean",
    _aten.sum: "reduce",
    _aten.amax: "reduce",
    _aten.amin: "reduce",
    _aten.max: "reduce",
    _aten.var: "reduce",
    _aten.var_mean: "reduce",
    _aten._adaptive_avg_pool2d: "reduce",
    _aten.adaptive_max_pool2d: "reduce",
    _aten._softmax: "softmax",
    _aten._safe_softmax: "softmax",
    _aten._log_softmax: "softmax",
    _aten.native_layer_norm: "normalise",
    _aten.native_group_norm: "normalise",
    _aten.upsample_bicubic2d: "resize",
    _aten._upsample_bilinear2d_aa: "resize",
    _aten.max_unpool2d: "max_unpool",
    _aten._prelu_kernel: "prelu",
    _aten.relu: "relu",
    _aten.relu_: "relu",
    _aten.sigmoid: "sigmoid",
    _aten.sigmoid_: "sigmoid",
    _aten.upsample_nearest2d: "resize",
    _aten._upsample_nearest_exact2d: "resize",
    _aten.upsample_bilinear2d: "resize",
    _aten.cat: "concatenate",
}
# These move or name data and compute nothing.
_FREE = frozenset(
    {
        _aten.view,
        _aten._unsafe_view,
        _aten._reshape_alias,
        _aten.permute,
        _aten.transpose,
        _aten.slice,
        _aten.split,
        _aten.split_with_sizes,
        _aten.select,
        _aten.expand,
        _aten.unsqueeze,
        _aten.squeeze,
        _aten.alias,
        _aten.detach,
        _aten.clone,
        _aten.copy_,
        _aten.constant_pad_nd,
        _aten.empty,
        _aten.empty_like,
        _aten.roll,
        _aten.repeat,
        _aten.index_select,
        _aten.gather,
        _aten.embedding,
        _aten.index,
        _aten.unbind,
        _aten.stack,
        _aten.arange,
        _aten.zeros,
        _aten.ones,
        _aten.full,
        _aten.scalar_tensor,
        _aten._to_copy,
        _aten.lift_fresh,
        _aten.native_dropout,
        _aten.pixel_shuffle,
        _aten.reflection_pad2d,
        _aten.replication_pad2d,
        _aten.im2col,
    }
)
# Where the two factors of a product of matrices stand among the arguments.
_PRODUCTS = {
    _aten.mm: (0, 1),
    _aten.bmm: (0, 1),
    _aten.mv: (0, 1),
    _aten.dot: (0, 1),
    _aten.addmm: (1, 2),
    _aten.baddbmm: (1, 2),
}

Size = tuple[int, int, int]


def _size(tensor: Tensor) -> Size:
    """(height, width, channels), or what stands for it: (rest, last but one, last)."""
    shape = tuple(tensor.shape)
    if len(shape) == 4:
        _, channels, height, width = shape
        return height, width, channels
    shape = (1, 1, 1, *shape)
    return prod(shape[:-2]), shape[-2], shape[-1]


def _pair(values: list[int]) -> tuple[int, int]:
    return (values[0], values[-1])


class _Recorder(TorchDispatchMode):
    """Records every operation that reaches PyTorch's dispatcher, whatever layer called it."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[Operation] = []
        self.path: list[str] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        packet = func.overloadpacket
        name = self.path[-1] if self.path else ""
        if packet is _aten.convolution:
            self.operations.append(_convolution(name, args, output))
        elif packet in _KINDS:
            self.operations.append(_operation(name, _KINDS[packet], args, output))
        elif packet in _PRODUCTS:
            first, second = (args[place] for place in _PRODUCTS[packet])
            biased = packet in (_aten.addmm, _aten.baddbmm)
            self.operations.append(_product(name, first, second, biased))
        elif "scaled_dot_product" in packet.__name__:
            self.operations += _attention(name, *args[:3])
        elif packet in _FREE or func.is_view:
            return output
        elif torch.Tag.pointwise in func.tags:
            result = output if isinstance(output, Tensor) else args[0]
            self._plain(name, "elementwise", result)
        else:
            result = next((one for one in args if isinstance(one, Tensor)), torch.empty(0))
            self._plain(str(packet), "unknown", result)
        return output

    def _plain(self, name: str, kind: OperationKind, tensor: Tensor) -> None:
        size = _size(tensor)
        self.operations.append(Operation(name=name, kind=kind, input_size=size, output_size=size))


def _convolution(name: str, args: tuple[Any, ...], output: Tensor) -> Operation:
    image, kernel, bias, stride, _, dilation, transposed, _, groups = args
    return Operation(
        name=name,
        kind="conv_transpose" if transposed else "conv",
        input_size=_size(image),
        output_size=_size(output),
        kernel=_pair(kernel.shape[2:]),
        stride=_pair(stride),
        dilation=_pair(dilation),
        groups=groups,
        bias=bias is not None,
    )


def _product(name: str, first: Tensor, second: Tensor, biased: bool) -> Operation:
    inner = first.shape[-1]
    rows = prod(first.shape[:-1])
    columns = second.shape[-1] if second.ndim > 1 else 1
    batch = first.shape[0] if first.ndim == 3 else 1
    return Operation(
        name=name,
        kind="matmul",
        input_size=(batch, rows // batch, inner),
        output_size=(batch, rows // batch, columns),
        bias=biased,
    )


def _attention(name: str, query: Tensor, key: Tensor, value: Tensor) -> list[Operation]:
    """softmax(q·kᵀ)·v as the two products and the softmax that it is, however it is fused."""
    batch, (length, width) = prod(query.shape[:-2]), query.shape[-2:]
    seen, out = key.shape[-2], value.shape[-1]
    scores = (batch, length, seen)
    sizes: tuple[tuple[OperationKind, Size, Size], ...] = (
        ("matmul", (batch, length, width), scores),
        ("softmax", scores, scores),
        ("matmul", scores, (batch, length, out)),
    )
    return [Operation(name=name, kind=k, input_size=i, output_size=o) for k, i, o in sizes]


def _operation(
    name: str, kind: OperationKind, args: tuple[Any, ...], output: Tensor | tuple[Tensor, ...]
) -> Operation:
    first: Tensor = args[0][0] if isinstance(args[0], (list, tuple)) else args[0]
    result = output if isinstance(output, Tensor) else output[0]
    operation = Operation(name=name, kind=kind, input_size=_size(first), output_size=_size(result))
    if kind in ("max_pool", "average_pool"):
        # No stride given means stride = kernel.
        _, window, *strides = args
        stride = (strides and strides[0]) or window
        return replace(operation, kernel=_pair(window), stride=_pair(stride))
    return operation


def operations(build: Callable[[], nn.Module], height: int, width: int) -> tuple[Operation, ...]:
    """The operations of one inference on one image, by running it without data.

    What has no count is among them, `unknown`. Raises `Unsupported` for a network that computes
    with the values of its input, which do not exist here.
    """
    with torch.device("meta"), torch.no_grad():
        module = build().eval()
        image = torch.empty(1, height, width, 1).permute(0, 3, 1, 2)
        recorder = _Recorder()
        try:
            with _hooks(module, *_tracking(recorder)), recorder:
                module(image)
        except NotImplementedError as error:
            raise Unsupported(f"the network does not run without data: {error}.") from None
    return tuple(recorder.operations)


def _tracking(recorder: _Recorder) -> tuple[Callable[..., None], Callable[..., None]]:
    """Hooks that tell the recorder which layer runs, and correct what only the layer knows."""
    starts: list[int] = []

    def enter(name: str, _layer: nn.Module, _args: object) -> None:
        recorder.path.append(name)
        starts.append(len(recorder.operations))

    def leave(name: str, layer: nn.Module, args: tuple[Tensor, ...], output: Tensor) -> None:
        recorder.path.pop()
        start = starts.pop()
        if isinstance(layer, ChannelShuffle):
            recorder.operations.append(
                Operation(
                    name=name,
                    kind="shuffle",
                    input_size=_size(args[0]),
                    output_size=_size(output),
                )
            )
        elif isinstance(layer, nn.ConvTranspose2d) and len(recorder.operations) == start + 1:
            # PyTorch computes the uncropped output; what SAME drops is not part of the network.
            recorder.operations[-1] = replace(recorder.operations[-1], output_size=_size(output))

    return enter, leave


def activations(module: nn.Module, image: Tensor) -> dict[str, Array]:
    """Outputs of the layers that own weights, in order of execution, NHWC float32 on the host."""
    found: dict[str, Array] = {}

    def keep(name: str, layer: nn.Module, _args: object, output: object) -> None:
        owns = any(True for _ in layer.parameters(recurse=False))
        if owns and isinstance(output, Tensor) and output.ndim == 4:
            # A copy at once: the activation behind it may write in place.
            found[name] = output.detach().permute(0, 2, 3, 1).float().cpu().numpy().copy()

    with torch.no_grad(), _hooks(module, None, keep):
        module(image)
    return found


@contextmanager
def _hooks(
    module: nn.Module, enter: Callable[..., None] | None, leave: Callable[..., None]
) -> Iterator[None]:
    handles = []
    for name, layer in module.named_modules():
        if enter is not None:
            handles.append(
                layer.register_forward_pre_hook(
                    lambda layer, args, name=name: enter(name, layer, args)
                )
            )
        handles.append(
            layer.register_forward_hook(
                lambda layer, args, output, name=name: leave(name, layer, args, output)
            )
        )
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
