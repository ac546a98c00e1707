"""Parameters and operations of one inference: our own analytic count.

Two counts stand side by side. `flops` is 2 per multiply-add of (transposed) convolutions and of
products of matrices, and nothing else; everything else is in `other_ops`.
`paper_convention_gflops` repeats what TensorFlow's profiler counted for the 2022 RFBSNet paper
(Table 1), final softmax included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from backends.contract import Network, Operation, WeightSpec
from backends.errors import Unsupported
from harness.records.schema import Cost

SOFTMAX_PER_ELEMENT = 5


def multiply_adds(operation: Operation) -> int:
    """Multiply-adds of a (transposed) convolution or matrix product, 0 for all else.

    A transposed convolution multiplies on its input grid: every input element meets the whole
    kernel once.
    """
    if operation.kind == "conv":
        grid = operation.output_size[:2]
    elif operation.kind == "conv_transpose":
        grid = operation.input_size[:2]
    elif operation.kind == "matmul":
        return prod(operation.output_size) * operation.input_size[2]
    else:
        return 0
    channels_in, channels_out = operation.input_size[2], operation.output_size[2]
    return prod(grid) * channels_out * (channels_in // operation.groups) * prod(operation.kernel)


def _bias(operation: Operation) -> int:
    return prod(operation.output_size) if operation.bias else 0


def _per_output(count: int) -> Callable[[Operation], int]:
    return lambda operation: count * prod(operation.output_size)


def _window(operation: Operation) -> int:
    return prod(operation.kernel) * prod(operation.output_size)


def _input_elements(operation: Operation) -> int:
    return prod(operation.input_size)


_nothing = _per_output(0)

# Operations beside the multiply-adds. `resize` counts one per output element whatever the rule
# of interpolation; moving data (concatenation, shuffling) is not an operation.
_OTHER_OPS: dict[str, Callable[[Operation], int]] = {
    "conv": _bias,
    "conv_transpose": _bias,
    "batch_norm": _per_output(2),
    "add": _per_output(1),
    "multiply": _per_output(1),
    "max_pool": _window,
    "average_pool": _window,
    "global_mean": _input_elements,
    "max_unpool": _per_output(1),
    "prelu": _per_output(3),
    "relu": _per_output(1),
    "sigmoid": _per_output(1),
    "resize": _per_output(1),
    "concatenate": _nothing,
    "shuffle": _nothing,
    "matmul": _bias,
    "elementwise": _per_output(1),
    # A sum for the mean, a product and a sum for the variance, a product and a sum to apply them.
    "normalise": _per_output(5),
    "softmax": _per_output(SOFTMAX_PER_ELEMENT),
    "reduce": _input_elements,
}

# The profiler of TensorFlow has no figure for these.
_PAPER_COUNTS_NOTHING = frozenset({"relu", "sigmoid", "resize", "max_unpool"})


def of(network: Network) -> tuple[Cost, str]:
    """The cost of one inference, and why its operations are not counted; "" if they are."""
    specs = network.weight_specs()
    try:
        return count(network.operations(), specs), ""
    except Unsupported as error:
        return _parameters(specs, network.height, network.width), str(error)


def count(operations: Sequence[Operation], specs: Sequence[WeightSpec]) -> Cost:
    """Count one inference at batch size 1 from its operations and weights.

    The last operation is the one that yields the logits, at the input's height and width. Raises
    `Unsupported` naming each kind that is unknown: a count that leaves something out would be a
    wrong number.
    """
    unknown = dict.fromkeys(
        one.name if one.kind == "unknown" else one.kind
        for one in operations
        if one.kind not in _OTHER_OPS
    )
    if not operations:
        raise Unsupported("The backend lists no operations, so there is nothing to count.")
    if unknown:
        raise Unsupported(
            f"{', '.join(unknown)}: no rule for counting, so there are no FLOPs; parameters are "
            "counted. Rules are in harness/measuring/cost.py."
        )
    macs = other = paper = 0
    for operation in operations:
        beside = _OTHER_OPS[operation.kind](operation)
        macs += multiply_adds(operation)
        other += beside
        paper += 0 if operation.kind in _PAPER_COUNTS_NOTHING else beside
    height, width, classes = operations[-1].output_size
    softmax = SOFTMAX_PER_ELEMENT * height * width * classes
    return _parameters(specs, height, width).model_copy(
        update={
            "macs": macs,
            "flops": 2 * macs,
            "other_ops": other,
            "paper_convention_gflops": (2 * macs + paper + softmax) / 1e9,
        }
    )


def _parameters(specs: Sequence[WeightSpec], height: int, width: int) -> Cost:
    return Cost(
        height=height,
        width=width,
        trainable_parameters=sum(prod(spec.shape) for spec in specs if spec.trainable),
        other_parameters=sum(prod(spec.shape) for spec in specs if not spec.trainable),
    )
