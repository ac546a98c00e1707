"""Whether a Flax network's layers have reported all that it computes.

The layers of `backends.flax_layers` and `backends.flax_operations` report themselves; a layer of
Flax's own, or an activation called directly, would be left out of the count silently. So the
traced network is searched for what computes outside of the layers that report.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr

from backends.contract import Operation
from backends.errors import Unsupported
from backends.flax_operations import COUNTED

# Move or convert values without computing. `concatenate` has a layer that reports it.
_FREE = {
    *("broadcast_in_dim", "convert_element_type", "copy", "pad", "reshape", "rev", "slice"),
    *("split", "squeeze", "transpose"),
}
# Run what they hold exactly once; a loop does not.
_CALLS = {
    *("checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"),
    *("custom_vjp_call_jaxpr", "jit", "pjit", "remat2"),
}


def require_counted(traced: ClosedJaxpr, operations: Sequence[Operation]) -> None:
    """Raise `Unsupported` naming the first primitive that no layer has reported."""
    for equation in _outside(traced.jaxpr):
        if equation.primitive.name not in _FREE:
            raise Unsupported(
                f"the primitive {equation.primitive.name!r} stands outside of all layers that "
                "report what they compute, and has no rule for counting: use "
                "backends/flax_layers.py and flax_operations.py, or add one there."
            )
    run = sum(equation.primitive.name == "conv_general_dilated" for equation in _all(traced.jaxpr))
    reported = sum(operation.kind in ("conv", "conv_transpose") for operation in operations)
    if run != reported:
        # JAX traces a function within `jax.jit` once for all its calls of the same shapes.
        raise Unsupported(
            f"'conv_general_dilated' is run {run} times and reported {reported} times, so that it "
            "cannot be counted: call the layers outside of jax.jit."
        )


def _outside(jaxpr: Jaxpr) -> Iterator[Any]:
    """Equations that stand in no layer that reports; calls are looked into."""
    for equation in jaxpr.eqns:
        if COUNTED in str(equation.source_info.name_stack).split("/"):
            continue
        if equation.primitive.name in _CALLS:
            for part in _parts(equation):
                yield from _outside(part)
        else:
            yield equation


def _all(jaxpr: Jaxpr) -> Iterator[Any]:
    for equation in jaxpr.eqns:
        yield equation
        for part in _parts(equation):
            yield from _all(part)


def _parts(equation: Any) -> Iterator[Jaxpr]:
    for value in equation.params.values():
        if isinstance(value, ClosedJaxpr):
            yield value.jaxpr
        elif isinstance(value, Jaxpr):
            yield value
