"""Parameters and operations of one inference: our own analytic count.

Two counts stand side by side. `flops` is 2 per multiply-add of (transposed) convolutions and
nothing else; everything else is in `other_ops`. `paper_convention_gflops` repeats what
TensorFlow's profiler counted for the 2022 RFBSNet paper (Table 1), final softmax included.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

from backends.contract import Operation, WeightSpec
from backends.errors import Unsupported
from harness.records.schema import Cost

SOFTMAX_PER_ELEMENT = 5


def multiply_adds(operation: Operation) -> int:
    """Multiply-adds of a (transposed) convolution at batch size 1, 0 for everything else.

    A transposed convolution multiplies on its input grid: every input element meets the whole
    kernel once.
    """
    if operation.kind == "conv":
        grid = operation.output_size[:2]
    elif operation.kind == "conv_transpose":
        grid = operation.input_size[:2]
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
}

# The profiler of TensorFlow has no figure for these.
_PAPER_COUNTS_NOTHING = frozenset({"relu", "sigmoid", "resize", "max_unpool"})


def count(operations: Sequence[Operation], specs: Sequence[WeightSpec]) -> Cost:
    """Count one inference at batch size 1 from its operations and weights.

    The last operation is the one that yields the logits, at the input's height and width. Raises
    `Unsupported` if there is nothing to count or a kind of operation is unknown: a count that
    leaves something out would be a wrong number.
    """
    if not operations:
        raise Unsupported("The backend lists no operations, so there is nothing to count.")
    macs = other = paper = 0
    for operation in operations:
        if operation.kind not in _OTHER_OPS:
            raise Unsupported(
                f"Operation {operation.name!r} is of the unknown kind {operation.kind!r}: "
                "add it to harness/measuring/cost.py before its network is counted."
            )
        beside = _OTHER_OPS[operation.kind](operation)
        macs += multiply_adds(operation)
        other += beside
        paper += 0 if operation.kind in _PAPER_COUNTS_NOTHING else beside
    height, width, classes = operations[-1].output_size
    softmax = SOFTMAX_PER_ELEMENT * height * width * classes
    return Cost(
        height=height,
        width=width,
        trainable_parameters=sum(prod(spec.shape) for spec in specs if spec.trainable),
        other_parameters=sum(prod(spec.shape) for spec in specs if not spec.trainable),
        macs=macs,
        flops=2 * macs,
        other_ops=other,
        paper_convention_gflops=(2 * macs + paper + softmax) / 1e9,
    )
