"""When do two frameworks agree? The differences, the rules, and the rows that state both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from typing import Any, Literal

import numpy as np

from backends.contract import Array

# Absolute: trained-like weights are drawn so that logits are of order 1.
TOLERANCE = 1e-4
Quantity = Literal["logits", "loss", "gradient", "weights after a step", "carried weights"]
# What a worker's file of one training step calls each quantity.
PREFIXES: dict[Quantity, str] = {
    "loss": "loss",
    "gradient": "gradient",
    "weights after a step": "weight",
}
# Relative, of a step in float64. Found: 2e-9 of ICNet's greatest gradient, 3e-14 of Fast-SCNN's.
STEP_TOLERANCE = 1e-7


@dataclass(frozen=True, kw_only=True)
class ParityRow:
    """One quantity of one network in one direction.

    `max_abs_diff` is the greatest absolute difference, infinite if values cannot be compared,
    and `scale` the size of what is compared: the root mean square of logits, the greatest absolute
    value of all else. `rule` says what `within` was decided by:

    - logits: at most 1e-4 at every value of every image, whatever their scale;
    - carried weights: the same bits;
    - a training step, computed in float64: gradients 1e-7 of the greatest gradient, the loss and
      each weight after the step 1e-7 × max(1, its greatest value).

    `layer` is the first layer or weight that differs, `reason` says why nothing could be compared.
    """

    network: str
    quantity: Quantity
    source: str
    target: str
    height: int
    width: int
    max_abs_diff: float
    scale: float
    within: bool
    rule: str = ""
    layer: str = ""
    reason: str = ""

    def row(self) -> dict[str, Any]:
        """The comparison as a row of the table; None stands for what is not finite."""
        values = asdict(self)
        return values | {
            key: values[key] if isfinite(values[key]) else None for key in ("max_abs_diff", "scale")
        }


def difference(left: Array, right: Array) -> float:
    """Greatest absolute difference; infinite if shapes differ or a value is not finite."""
    if left.shape != right.shape:
        return float("inf")
    with np.errstate(over="ignore", invalid="ignore"):
        greatest = float(np.max(np.abs(left - right), initial=0.0))
    return greatest if isfinite(greatest) else float("inf")


def incomparable(values: Mapping[str, Array]) -> str:
    """Why the arrays of two frameworks cannot be compared, in words; "" if they can be."""
    (source, left), (target, right) = values.items()
    if left.shape != right.shape:
        return f"{source} gives shape {left.shape}, {target} {right.shape}"
    odd = {name: int((~np.isfinite(value)).sum()) for name, value in values.items()}
    clauses = [
        f"{n} of {left.size} values of {name} are NaN or infinite" for name, n in odd.items()
    ]
    return ", ".join(clause for clause, n in zip(clauses, odd.values(), strict=True) if n)


def agree(found: float, limit: float) -> bool:
    """Whether a difference is within its limit; what is not finite never is."""
    return isfinite(found) and isfinite(limit) and found <= limit


def root_mean_square(values: Array) -> float:
    """Root mean square of all values, 0 if there are none."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0


def first_difference(
    source: dict[str, Array], target: dict[str, Array], order: Sequence[str]
) -> str:
    """The first layer, in the order of execution, whose output differs; "" if none does.

    Outputs count as different beyond 1e-4 of max(1, their root mean square), or if a value is not
    finite.
    """
    for name in order:
        if name not in target:
            return f"{name} (missing)"
        limit = TOLERANCE * max(1.0, root_mean_square(source[name]))
        if not agree(difference(source[name], target[name]), limit):
            return name
    return ""


def compare_steps(
    quantity: Quantity,
    names: Sequence[str],
    steps: Mapping[str, Mapping[str, Array]],
) -> dict[str, Any]:
    """What a row says of one quantity of a training step of two frameworks.

    `names` are the weights in the order of the layers, `steps` the two frameworks' results by
    framework.
    """
    (source, left), (target, right) = steps.items()
    prefix = PREFIXES[quantity]
    keys = {name: f"{prefix}/{name}" for name in names if f"{prefix}/{name}" in left}
    found = {name: difference(left[key], right[key]) for name, key in keys.items()}
    greatest = {name: float(np.abs(left[key]).max(initial=0)) for name, key in keys.items()}
    scale = float(np.max(list(greatest.values())))
    sizes = {
        name: scale if quantity == "gradient" else max(1.0, value)
        for name, value in greatest.items()
    }
    of = "the greatest" if quantity == "gradient" else "max(1, its greatest value)"
    rule = f"{STEP_TOLERANCE:.0e} of {of}, in float64"
    wrong = [name for name in keys if not agree(found[name], STEP_TOLERANCE * sizes[name])]
    values = {source: left[keys[wrong[0]]], target: right[keys[wrong[0]]]} if wrong else {}
    return {
        "max_abs_diff": max(found.values()),
        "scale": scale,
        "within": not wrong,
        "rule": rule,
        "layer": wrong[0] if wrong else "",
        "reason": incomparable(values) if values else "",
    }
