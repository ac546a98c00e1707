"""The weights of a PyTorch module by name: in canonical layout, or all as PyTorch has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from backends.contract import Array, WeightSpec
from backends.errors import BackendError

# What PyTorch calls a weight → its canonical own name and the axes of the canonical layout.
_CONV = {"weight": ("kernel", (2, 3, 1, 0)), "bias": ("bias", (0,))}
_CONV_TRANSPOSE = {"weight": ("kernel", (2, 3, 0, 1)), "bias": ("bias", (0,))}
_BATCH_NORM = {
    "weight": ("gamma", (0,)),
    "bias": ("beta", (0,)),
    "running_mean": ("mean", (0,)),
    "running_var": ("variance", (0,)),
}
_PRELU = {"weight": ("alpha", (0,))}
_LAYOUTS: tuple[tuple[type[nn.Module], dict[str, tuple[str, tuple[int, ...]]]], ...] = (
    (nn.ConvTranspose2d, _CONV_TRANSPOSE),
    (nn.Conv2d, _CONV),
    (nn.BatchNorm2d, _BATCH_NORM),
    (nn.PReLU, _PRELU),
)
# A network is float32, and its copy for exact results float64; counters keep their dtype.
_COMPUTED = (torch.float32, torch.float64)
_COUNTED = (torch.int64, torch.int32, torch.uint8, torch.bool)


@dataclass(frozen=True, kw_only=True)
class CanonicalWeight:
    """One weight: its spec, the tensor that holds it, and how their axes relate."""

    spec: WeightSpec
    tensor: Tensor
    axes: tuple[int, ...]

    def to_canonical(self, value: Tensor) -> Array:
        """A copy on the host of a tensor in this weight's PyTorch layout, in the spec's dtype."""
        array = value.detach().permute(self.axes).cpu().numpy()
        return array.astype(self.spec.dtype, order="C", copy=True)

    @torch.no_grad()
    def copy_into(self, target: Tensor, value: Array) -> None:
        """Write a canonical array into a tensor in this weight's PyTorch layout."""
        inverse = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        # `torch.tensor` copies: arrays read from a file may be read-only.
        target.copy_(torch.tensor(value).permute(inverse))


def canonical_weights(module: nn.Module) -> tuple[CanonicalWeight, ...]:
    """All weights of `module` in the order of its layers.

    In canonical form if every layer has one, else all of them native: under the keys and with the
    shapes of the state dict. Raises `BackendError` for a dtype that no network is built in.
    """
    owned = list(_owned(module))
    canonical = [_canonical(*one) for one in owned]
    return tuple(
        weight if weight and all(canonical) else _native(path, own, tensor)
        for weight, (path, _, own, tensor) in zip(canonical, owned, strict=True)
    )


def _owned(module: nn.Module) -> Iterator[tuple[str, nn.Module, str, Tensor]]:
    """Path, layer, own name and tensor of each weight; a shared one once."""
    seen: set[int] = set()
    for path, layer in module.named_modules():
        tensors = dict(layer.named_parameters(recurse=False))
        tensors |= {
            own: buffer
            for own, buffer in layer.named_buffers(recurse=False)
            if own not in layer._non_persistent_buffers_set
        }
        if getattr(layer, "momentum", None) is not None:
            # Counts training steps, which matters only to a layer that averages over all of them.
            tensors.pop("num_batches_tracked", None)
        for own, tensor in tensors.items():
            if id(tensor) not in seen:
                seen.add(id(tensor))
                yield path, layer, own, tensor


def _canonical(path: str, layer: nn.Module, own: str, tensor: Tensor) -> CanonicalWeight | None:
    layout = next((names for kind, names in _LAYOUTS if isinstance(layer, kind)), {})
    if own not in layout or tensor.dtype not in _COMPUTED:
        return None
    name, axes = layout[own]
    spec = WeightSpec(
        name=f"{path}.{name}",
        shape=tuple(tensor.shape[axis] for axis in axes),
        trainable=_trains(tensor),
    )
    return CanonicalWeight(spec=spec, tensor=tensor, axes=axes)


def _native(path: str, own: str, tensor: Tensor) -> CanonicalWeight:
    name = f"{path}.{own}" if path else own
    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.dtype not in (*_COMPUTED, *_COUNTED):
        raise BackendError(
            f"weight {name!r} is {dtype}: build the network in float32; the plans convert it."
        )
    spec = WeightSpec(
        name=name, shape=tuple(tensor.shape), trainable=_trains(tensor), native=True, dtype=dtype
    )
    return CanonicalWeight(spec=spec, tensor=tensor, axes=tuple(range(tensor.ndim)))


def _trains(tensor: Tensor) -> bool:
    return isinstance(tensor, nn.Parameter) and tensor.requires_grad
