"""The weights of a PyTorch module by canonical name and in canonical layout."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from backends.contract import Array, WeightSpec
from backends.errors import Unsupported

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
# PyTorch counts training steps here; no other framework does and nothing of ours reads it.
_IGNORED = frozenset({"num_batches_tracked"})


@dataclass(frozen=True, kw_only=True)
class CanonicalWeight:
    """One weight: its canonical spec, the tensor that holds it, and how their axes relate."""

    spec: WeightSpec
    tensor: Tensor
    axes: tuple[int, ...]

    def to_canonical(self, value: Tensor) -> Array:
        """A float32 copy on the host of a tensor in this weight's PyTorch layout."""
        return np.array(value.detach().permute(self.axes).cpu().numpy(), np.float32, order="C")

    @torch.no_grad()
    def copy_into(self, target: Tensor, value: Array) -> None:
        """Write a canonical array into a tensor in this weight's PyTorch layout."""
        inverse = sorted(range(len(self.axes)), key=self.axes.__getitem__)
        # `torch.tensor` copies: arrays read from a file may be read-only.
        target.copy_(torch.tensor(value).permute(inverse))


def canonical_weights(module: nn.Module) -> tuple[CanonicalWeight, ...]:
    """All weights of `module` in the order of its layers.

    Raises `Unsupported` if a layer holds weights that have no canonical name.
    """
    found: list[CanonicalWeight] = []
    for path, layer in module.named_modules():
        tensors = {
            **dict(layer.named_parameters(recurse=False)),
            **dict(layer.named_buffers(recurse=False)),
        }
        layout = next((names for kind, names in _LAYOUTS if isinstance(layer, kind)), {})
        for own, tensor in tensors.items():
            if own in _IGNORED:
                continue
            if own not in layout:
                raise Unsupported(
                    f"layer {path!r} is a {type(layer).__name__}, whose {own!r} has no canonical "
                    "name: add it to backends/torch_weights.py."
                )
            name, axes = layout[own]
            spec = WeightSpec(
                name=f"{path}.{name}",
                shape=tuple(tensor.shape[axis] for axis in axes),
                trainable=isinstance(tensor, nn.Parameter),
            )
            found.append(CanonicalWeight(spec=spec, tensor=tensor, axes=axes))
    return tuple(found)
