"""Whether TensorFlow has a GPU kernel for all that trains the networks, and a deterministic one.

    python -m benchmarks.tensorflow_kernels [--networks rfbsnet,enet] [--precision bfloat16]

Needs a CUDA build of TensorFlow and no GPU: kernels are registered when the library is loaded. The
build for CPUs knows only kernels of a CPU. Without options all networks in both precisions; the
exit code is 1 if an operation has no kernel for its types, 4 if the build cannot tell.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from typing import Any

from backends.contract import Runtime, TrainingOptions
from harness import registry
from tests.contract.test_determinism import TENSORFLOW

SIDE, BATCH = 64, 2
# What holds a graph together: handled by the runtime itself, on no device.
STRUCTURE = {"Placeholder", "NoOp", "StatefulPartitionedCall", "PartitionedCall"}


def nodes(network: str, precision: Any) -> Iterator[Any]:
    """Every node of the network's training step."""
    backend = registry.load_backend("keras")(Runtime())
    size = {"classes": 2, "height": SIDE, "width": SIDE}
    options = TrainingOptions(loss="dice_ce", seed=0, batch_size=BATCH, precision=precision)
    trainer: Any = registry.build(backend, network, **size).trainer(options)
    graph = trainer._function.get_concrete_function().graph.as_graph_def()
    yield from graph.node
    for function in graph.library.function:
        yield from function.node_def


def kernels(operation: str) -> list[Any]:
    """The GPU kernels that this build has for an operation."""
    from tensorflow.python.framework.kernels import get_registered_kernels_for_op

    found: Any = get_registered_kernels_for_op(operation)
    return [kernel for kernel in found.kernel if kernel.device_type in ("GPU", "DEFAULT")]


def fits(kernel: Any, node: Any) -> bool:
    """Whether a kernel takes a node's types."""
    return all(
        node.attr[one.name].type in one.allowed_values.list.type
        for one in kernel.constraint
        if node.attr[one.name].type
    )


def main() -> int:
    """Print what lacks a kernel, per network and precision."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    every = [name for name, entry in registry.networks().items() if entry.implements("keras")]
    parser.add_argument("--networks", default=",".join(every))
    parser.add_argument("--precision", choices=("float32", "bfloat16"))
    options = parser.parse_args()
    registry.load_backend("keras")
    if not kernels("Conv2D"):
        print("This TensorFlow is built for CPUs and registers no GPU kernel.", file=sys.stderr)
        return 4
    lacking = 0
    for network in options.networks.split(","):
        for precision in [options.precision] if options.precision else ["float32", "bfloat16"]:
            seen = list(nodes(network, precision))
            without = {
                f"{node.op}({', '.join(sorted(_types(node)))})"
                for node in seen
                if node.op not in STRUCTURE and not any(fits(k, node) for k in kernels(node.op))
            }
            unsure = {node.op for node in seen} & TENSORFLOW
            lacking += len(without) + len(unsure)
            operations = len({node.op for node in seen})
            print(f"{network}, {precision}: {operations} kinds of operations", flush=True)
            print(f"  no GPU kernel: {', '.join(sorted(without)) or 'none'}")
            print(f"  no deterministic one: {', '.join(sorted(unsure)) or 'none'}", flush=True)
    return 1 if lacking else 0


def _types(node: Any) -> set[str]:
    import tensorflow as tf

    values = node.attr.values()
    return {tf.as_dtype(value.type).name for value in values if value.WhichOneof("value") == "type"}


if __name__ == "__main__":
    sys.exit(main())
