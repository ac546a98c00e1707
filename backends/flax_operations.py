"""What the Flax networks do without weights: activations, pooling, resizing, joining.

Everything takes and gives (n, height, width, channels). These functions and the layers of
`backends.flax_layers`, and nothing else, report to the `Trace` that is on while a network runs, so
that operations are counted from what was traced. Each is `counted`; if anything else computes,
the count is `Unsupported`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial, wraps
from typing import Any, Literal, ParamSpec, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax

from backends.contract import Array, Operation, OperationKind
from backends.interpolation import linear_weights, nearest_rows

Padding = Literal["SAME", "VALID"]
Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")
# The scope in which whatever is traced belongs to a reported operation (`backends.flax_counting`).
COUNTED = "counted"


@dataclass
class Trace:
    """What the layers reported: operations, and the outputs of layers that have a name."""

    names: dict[int, str]  # canonical path by the id of a module
    operations: list[Operation] = field(default_factory=list)
    activations: dict[str, jax.Array] = field(default_factory=dict)
    unnamed: dict[str, int] = field(default_factory=dict)


_trace: ContextVar[Trace | None] = ContextVar("trace", default=None)


@contextmanager
def tracing(module: nnx.Module) -> Iterator[Trace]:
    """Let the layers report while `module` runs in this block."""
    paths = nnx.iter_modules(module)
    trace = Trace({id(part): ".".join(map(str, path)) for path, part in paths})
    token = _trace.set(trace)
    try:
        yield trace
    finally:
        _trace.reset(token)


def counted(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Mark all that `function` computes as part of the one operation that it reports."""

    @wraps(function)
    def inside(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
        with jax.named_scope(COUNTED):
            return function(*args, **kwargs)

    return inside


def report(
    layer: nnx.Module | None, kind: OperationKind, x: jax.Array, y: jax.Array, **details: Any
) -> jax.Array:
    """Report one operation from `x` to `y` if a trace is on; returns `y`."""
    trace = _trace.get()
    if trace is None:
        return y
    if layer is None:
        trace.unnamed[kind] = number = trace.unnamed.get(kind, -1) + 1
        name = f"{kind}.{number}"
    else:
        name = trace.names[id(layer)]
        trace.activations[name] = y
    sizes = {"input_size": tuple(x.shape[1:]), "output_size": tuple(y.shape[1:])}
    trace.operations.append(Operation(name=name, kind=kind, **sizes, **details))
    return y


@counted
def relu(x: jax.Array) -> jax.Array:
    return report(None, "relu", x, jax.nn.relu(x))


@counted
def sigmoid(x: jax.Array) -> jax.Array:
    return report(None, "sigmoid", x, jax.nn.sigmoid(x))


@counted
def add(a: jax.Array, b: jax.Array) -> jax.Array:
    return report(None, "add", a, a + b)


@counted
def multiply(a: jax.Array, b: jax.Array) -> jax.Array:
    """Product; maps of 1×1 are stretched over the other's height and width."""
    return report(None, "multiply", a, a * b)


@counted
def concatenate(*parts: jax.Array) -> jax.Array:
    """Join along the channels in the order given."""
    return report(None, "concatenate", parts[0], jnp.concatenate(parts, axis=-1))


@counted
def shuffle(x: jax.Array, groups: int) -> jax.Array:
    """Channels seen as (groups, c / groups), transposed, flattened."""
    n, height, width, channels = x.shape
    split = x.reshape(n, height, width, groups, channels // groups)
    return report(None, "shuffle", x, split.swapaxes(3, 4).reshape(x.shape))


@counted
def global_mean(x: jax.Array) -> jax.Array:
    """Mean over height and width, kept as a map of 1×1."""
    return report(None, "global_mean", x, x.mean((1, 2), keepdims=True))


@counted
def max_pool(x: jax.Array, size: int = 2, stride: int = 2, padding: Padding = "SAME") -> jax.Array:
    """Maximum over windows; padding counts as −∞. Of equal values the first takes the gradient."""
    y: Any = _maxima(x, size, stride, padding)
    return report(None, "max_pool", x, y, kernel=(size, size), stride=(stride, stride))


@partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _maxima(x: jax.Array, size: int, stride: int, padding: Padding) -> jax.Array:
    """Max pooling whose gradient adds no value to another by chance of order.

    XLA's own gradient scatters, on a GPU by atomic additions, or under its deterministic-ops flag
    one update after the other.
    """
    return nnx.max_pool(x, (size, size), (stride, stride), padding)


def _maxima_forward(x: jax.Array, size: int, stride: int, padding: Padding) -> tuple[Any, ...]:
    y = _maxima(x, size, stride, padding)
    return y, (x, y)


def _maxima_backward(
    size: int, stride: int, padding: Padding, kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array]:
    """Each window's gradient goes to its first maximum: one strided view for each place."""
    x, y = kept
    pads = lax.padtype_to_pads(x.shape[1:3], (size, size), (stride, stride), padding)
    lowest = jnp.array(-jnp.inf, x.dtype)
    padded = lax.pad(x, lowest, ((0, 0, 0), *((*pad, 0) for pad in pads), (0, 0, 0)))
    spans = [(outputs - 1) * stride + 1 for outputs in y.shape[1:3]]
    free = jnp.ones(y.shape, bool)
    total = jnp.zeros_like(padded)
    for row in range(size):
        for column in range(size):
            view = padded[:, row : row + spans[0] : stride, column : column + spans[1] : stride]
            chosen = free & (view == y)
            free &= ~chosen
            # Back to the places that the view was taken from.
            around = [
                (before, side - before - span, stride - 1)
                for before, side, span in zip((row, column), padded.shape[1:3], spans, strict=True)
            ]
            own = jnp.where(chosen, gradient, 0)
            total += lax.pad(own, jnp.zeros((), x.dtype), ((0, 0, 0), *around, (0, 0, 0)))
    back = [(-before, -after, 0) for before, after in pads]
    return (lax.pad(total, jnp.zeros((), x.dtype), ((0, 0, 0), *back, (0, 0, 0))),)


_maxima.defvjp(_maxima_forward, _maxima_backward)


@counted
def average_pool(
    x: jax.Array, size: tuple[int, int], stride: tuple[int, int], padding: Padding = "SAME"
) -> jax.Array:
    """Mean over windows; padding is left out of the mean."""
    total = lax.reduce_window(x, 0.0, lax.add, (1, *size, 1), (1, *stride, 1), padding)
    sides = zip(x.shape[1:3], size, stride, total.shape[1:3], strict=True)
    rows, columns = (_window_counts(*side, padding) for side in sides)
    y = total / np.multiply.outer(rows, columns)[:, :, None].astype(x.dtype)
    return report(None, "average_pool", x, y, kernel=size, stride=stride)


def _window_counts(side: int, size: int, stride: int, outputs: int, padding: Padding) -> Array:
    """How many inputs stand in each window along one axis, (outputs,) float32."""
    ((before, _),) = lax.padtype_to_pads((side,), (size,), (stride,), padding)
    start = np.arange(outputs) * stride - before
    return (np.minimum(start + size, side) - np.maximum(start, 0)).astype(np.float32)


@counted
def max_pool_with_places(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """2×2 maxima, and which of the four held each (0 … 3 in row order, the first of equals)."""
    taps = jnp.stack([x[:, i::2, j::2] for i in (0, 1) for j in (0, 1)])
    places = jnp.argmax(taps, axis=0)
    # Not `take_along_axis`, whose gradient scatters.
    a, b, c, d = taps
    y = jnp.where(places < 2, jnp.where(places == 0, a, b), jnp.where(places == 2, c, d))
    return report(None, "max_pool", x, y, kernel=(2, 2), stride=(2, 2)), places


@counted
def max_unpool(x: jax.Array, places: jax.Array) -> jax.Array:
    """Put each value back at its place of the 2×2; all else is zero."""
    n, height, width, channels = x.shape
    taps = [jnp.where(places == place, x, 0) for place in range(4)]
    rows = [jnp.stack(taps[first : first + 2], axis=3) for first in (0, 2)]
    y = jnp.stack(rows, axis=2).reshape(n, 2 * height, 2 * width, channels)
    return report(None, "max_unpool", x, y)


@counted
def upsample(x: jax.Array, factor: int) -> jax.Array:
    """Nearest-neighbour upsampling by a whole factor."""
    return report(None, "resize", x, _repeated(x, (factor, factor)))


def _repeated(x: jax.Array, factors: tuple[int, int]) -> jax.Array:
    """Each row and each column so many times."""
    n, height, width, channels = x.shape
    shape = (n, height, factors[0], width, factors[1], channels)
    y = jnp.broadcast_to(x[:, :, None, :, None], shape)
    return y.reshape(n, height * factors[0], width * factors[1], channels)


@counted
def nearest(x: jax.Array, height: int, width: int) -> jax.Array:
    """Nearest-neighbour resize: the source index is floor((i + ½) · in / out)."""
    sides = (height, x.shape[1]), (width, x.shape[2])
    if not any(outputs % inputs for outputs, inputs in sides):
        factors = height // x.shape[1], width // x.shape[2]
        return report(None, "resize", x, _repeated(x, factors))
    # As products with ones and zeros, which are exact: the gradient of indexing scatters.
    rows, columns = (
        (nearest_rows(inputs, outputs)[:, None] == np.arange(inputs)).astype(x.dtype)
        for outputs, inputs in sides
    )
    y = jnp.einsum("ah,nhwc->nawc", rows, x, precision="highest")
    y = jnp.einsum("bw,nawc->nabc", columns, y, precision="highest")
    return report(None, "resize", x, y)


@counted
def bilinear(x: jax.Array, height: int, width: int) -> jax.Array:
    """Bilinear resize: half-pixel centres, edges repeated, no antialiasing.

    Written as one small matrix product per axis: gathers are slow on a CPU, their gradients slower.
    """
    rows = linear_weights(x.shape[1], height).astype(x.dtype)
    columns = linear_weights(x.shape[2], width).astype(x.dtype)
    y = jnp.einsum("ah,nhwc->nawc", rows, x, precision="highest")
    y = jnp.einsum("bw,nawc->nabc", columns, y, precision="highest")
    return report(None, "resize", x, y)


def upsample_bilinear(x: jax.Array, factor: int) -> jax.Array:
    """Bilinear upsampling of both sides by a whole factor."""
    return bilinear(x, x.shape[1] * factor, x.shape[2] * factor)
