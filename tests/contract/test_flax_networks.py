"""What only Flax has: counts by layers that report, XLA's second count, traced gradients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.extend.core import ClosedJaxpr, Jaxpr, Literal

from backends.contract import Operation
from backends.errors import Unsupported
from backends.flax_layers import Conv
from backends.flax_network import FlaxNetwork
from backends.flax_operations import relu
from backends.flax_training import value_and_gradients
from harness import registry
from harness.measuring.cost import multiply_adds
from tests.contract import references
from tests.contract.hooks import SIDE, load

NAMES = tuple(name for name, entry in registry.networks().items() if entry.implements("flax"))


def _network(name: str, side: int = 0) -> FlaxNetwork:
    flax = load("flax")
    network = flax.build(name, side, side) if side else flax.network(name)
    assert isinstance(network, FlaxNetwork)
    return network


def _convolutions(jaxpr: Any) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "conv_general_dilated":
            yield equation
        for value in equation.params.values():
            if isinstance(value, ClosedJaxpr):
                yield from _convolutions(value.jaxpr)


def _flops_by_xla(equation: Any) -> float:
    """What XLA's cost analysis says of one traced convolution (it leaves out padding taps)."""
    operands = [jax.ShapeDtypeStruct(v.aval.shape, v.aval.dtype) for v in equation.invars]
    lowered = jax.jit(lambda *values: equation.primitive.bind(*values, **equation.params)).lower(
        *operands
    )
    analysis: Any = lowered.cost_analysis()
    return analysis["flops"]


def _flops_without_padding(operation: Operation) -> int:
    """2 per multiply-add whose tap falls on the image: what XLA counts."""
    taps = 1
    for axis in (0, 1):
        inputs, outputs = operation.input_size[axis], operation.output_size[axis]
        stride, kernel = operation.stride[axis], operation.kernel[axis]
        positions = np.arange(kernel) * operation.dilation[axis]
        if operation.kind == "conv_transpose":
            reached = np.arange(inputs)[:, None] * stride + positions - (kernel - stride) // 2
            taps *= int(((reached >= 0) & (reached < outputs)).sum())
        else:
            total = max(0, (outputs - 1) * stride + int(positions[-1]) + 1 - inputs)
            reached = np.arange(outputs)[:, None] * stride + positions - total // 2
            taps *= int(((reached >= 0) & (reached < inputs)).sum())
    channels = operation.input_size[2] // operation.groups * operation.output_size[2]
    return 2 * taps * channels


@pytest.mark.parametrize("name", NAMES)
def test_xla_counts_the_same_convolutions(name: str) -> None:
    network = _network(name, 256)
    operations = network.operations()
    assert operations[-1].output_size == (256, 256, 2)
    image = jax.ShapeDtypeStruct((1, 256, 256, 1), jnp.float32)
    program = network.program
    traced = jax.make_jaxpr(program.forward)(program.parameters, program.statistics, image)
    known: dict[str, float] = {}
    by_xla = 0.0
    for equation in _convolutions(traced.jaxpr):
        shapes = [variable.aval.shape for variable in equation.invars]
        key = f"{shapes} {equation.params}"
        if key not in known:
            known[key] = _flops_by_xla(equation)
        by_xla += known[key]
    counted = [operation for operation in operations if multiply_adds(operation)]
    assert by_xla == sum(map(_flops_without_padding, counted))


class _Foreign(nnx.Module):
    """`_Own` with one thing more, which no layer of ours reports."""

    def __init__(self, extra: Callable[[_Foreign, jax.Array], jax.Array]) -> None:
        self.body, self.middle, self.head = Conv(1, 4, 3), Conv(4, 4, 3), Conv(4, 2, 1)
        self.foreign = nnx.Conv(4, 4, (3, 3), rngs=nnx.Rngs(0))
        self.linear = nnx.Linear(4, 4, rngs=nnx.Rngs(0))
        self.extra = extra

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.extra(self, self.body(x)))


def _foreign(extra: Callable[[_Foreign, jax.Array], jax.Array]) -> FlaxNetwork:
    backend = load("flax").backend
    network = backend.build(lambda **_: _Foreign(extra), classes=2, height=SIDE, width=SIDE)
    assert isinstance(network, FlaxNetwork)
    return network


def _twice_in_jit(network: _Foreign, x: jax.Array) -> jax.Array:
    run = jax.jit(network.middle.__call__)
    return run(run(x))


@pytest.mark.parametrize(
    ("extra", "primitive"),
    [
        (lambda network, x: network.foreign(x), "conv_general_dilated"),
        (lambda network, x: network.linear(x), "dot_general"),
        (lambda _, x: jax.nn.gelu(x, approximate=False), "erfc|mul|erf|neg"),
        (lambda _, x: jax.nn.relu(x), "max"),
        (lambda _, x: x + x, "add"),
        (lambda _, x: jax.lax.fori_loop(0, 3, lambda _, x: relu(x), x), "scan|while"),
        (_twice_in_jit, "conv_general_dilated"),
    ],
)
def test_what_no_layer_reports_is_unsupported(
    extra: Callable[[_Foreign, jax.Array], jax.Array], primitive: str
) -> None:
    network = _foreign(extra)
    with pytest.raises(Unsupported, match=f"'({primitive})'"):
        network.operations()


def test_moving_values_is_free_of_operations() -> None:
    def moved(_: _Foreign, x: jax.Array) -> jax.Array:
        return jnp.pad(jnp.split(x, 2, axis=3)[1].mT, ((0, 0), (0, 0), (0, 0), (0, 2)))[..., :4]

    network = _foreign(moved)
    assert [operation.name for operation in network.operations()] == ["body", "head"]


def _reached(jaxpr: Jaxpr, known: Sequence[bool]) -> list[bool]:
    """Which outputs depend on an input that is `known`, through everything that is computed."""
    reached = {var for var, flag in zip(jaxpr.invars, known, strict=True) if flag}
    for equation in jaxpr.eqns:
        flags = [not isinstance(atom, Literal) and atom in reached for atom in equation.invars]
        inner = equation.params.get("jaxpr")
        if equation.primitive.name in ("jit", "pjit") and isinstance(inner, ClosedJaxpr):
            outputs = _reached(inner.jaxpr, flags)
        else:
            outputs = [any(flags)] * len(equation.outvars)
        reached |= {var for var, flag in zip(equation.outvars, outputs, strict=True) if flag}
    return [not isinstance(atom, Literal) and atom in reached for atom in jaxpr.outvars]


def _without_gradient(network: FlaxNetwork) -> list[str]:
    """Weights whose gradient is the same whatever the masks: they do not reach the loss."""
    images, _ = references.batch(2)

    def gradients(masks: jax.Array) -> dict[str, jax.Array]:
        values = (
            network.program.parameters,
            network.program.statistics,
            jnp.asarray(images),
            masks,
        )
        return value_and_gradients(network.program, *values, "dice_ce", None)[1]

    traced, shapes = jax.make_jaxpr(gradients, return_shape=True)(images[..., 0])
    reached = _reached(traced.jaxpr, [True])
    return [name for name, flag in zip(shapes, reached, strict=True) if not flag]


@pytest.mark.parametrize("name", NAMES)
def test_every_weight_reaches_the_loss(name: str) -> None:
    """On the traced gradients: to compile them takes half a minute per network."""
    assert _without_gradient(_network(name)) == []


def test_a_weight_that_reaches_no_loss_is_found() -> None:
    def useless(network: _Foreign, x: jax.Array) -> jax.Array:
        network.middle(x)
        return network.linear(network.foreign(x))

    network = _foreign(useless)
    assert _without_gradient(network) == ["middle.bias", "middle.kernel"]


def test_compilations_are_seen() -> None:
    images, _ = references.batch(1)
    query = load("flax").network("tiny").prepare(images, plan="aot", quantity="forward")
    before = query.compilations()
    jax.jit(lambda x: x * 3.25 - 1)(images)
    assert query.compilations() == before + 1
