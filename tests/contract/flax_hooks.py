"""The answers of Flax to the contract suite."""

from __future__ import annotations

import jax
from flax import nnx
from typing_extensions import override

from backends.contract import Runtime
from backends.flax_layers import BatchNorm, Conv, DepthwiseConv, Dropout
from backends.flax_operations import relu
from tests.contract import references
from tests.contract.hooks import SIDE, FrameworkHooks


class _Tiny(nnx.Module):
    def __init__(self, classes: int) -> None:
        self.conv = Conv(1, 4, 3)
        self.norm = BatchNorm(4, 0.5)
        self.dropout = Dropout(0.5)
        self.mix = DepthwiseConv(4, 3)
        self.head = Conv(4, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.mix(self.dropout(relu(self.norm(self.conv(x))))))


class _TwoNorms(nnx.Module):
    def __init__(self, classes: int) -> None:
        for name, (inputs, outputs) in references.WIDTHS.items():
            setattr(self, name, Conv(inputs, outputs, 1))
            setattr(self, f"{name}_norm", BatchNorm(outputs))
        self.dropout = Dropout(0.5)
        self.head = Conv(4, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        for name in references.WIDTHS:
            norm = getattr(self, f"{name}_norm")
            x = self.dropout(relu(norm(getattr(self, name)(x))))
        return self.head(x)


class _Gelu(nnx.Module):
    def __init__(self, classes: int) -> None:
        self.head = Conv(1, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(jax.nn.gelu(x, approximate=False))


class Hooks(FrameworkHooks):
    name = "flax"
    rounding = frozenset({"conv.bias"})
    uncounted_name = "'(erfc|mul|erf|neg)'"
    compiles_slowly = True
    width = SIDE  # with batches of eight, not square would take twice the time
    runtime = Runtime()  # JAX takes its number of threads from the environment of the process

    @override
    def tiny(self, *, classes: int, height: int, width: int) -> nnx.Module:
        return _Tiny(classes)

    @override
    def two_norms(self, *, classes: int, height: int, width: int) -> nnx.Module:
        return _TwoNorms(classes)

    @override
    def uncounted(self, *, classes: int, height: int, width: int) -> nnx.Module:
        return _Gelu(classes)
