"""What only Keras has: TensorFlow's profiler as a second count."""

from __future__ import annotations

import pytest

from harness import registry
from harness.measuring.cost import multiply_adds
from tests.contract.hooks import load

NAMES = tuple(name for name, entry in registry.networks().items() if entry.implements("keras"))


@pytest.mark.parametrize("name", NAMES)
def test_tensorflow_counts_the_same_convolutions(name: str) -> None:
    # At 256: TensorFlow cuts a map into pieces for a dilated convolution, and where the dilation
    # does not divide the map it counts their padding too.
    load("keras")
    from backends.keras_engine import tf
    from backends.keras_graph import operations

    model = registry.load_builder(registry.network(name), "keras")()
    traced = tf.function(lambda image: model(image, training=False), autograph=False)
    graph = traced.get_concrete_function(tf.TensorSpec((1, 256, 256, 1))).graph
    profiler = tf.compat.v1.profiler
    options = profiler.ProfileOptionBuilder(
        profiler.ProfileOptionBuilder.float_operation()
    ).with_empty_output()
    total = 0
    for node in profiler.profile(graph, cmd="op", options=options.build()).children:
        stack = [node]
        while stack:
            one = stack.pop()
            stack.extend(one.children)
            if "Conv" in one.name:
                total += one.float_ops
    assert total == 2 * sum(map(multiply_adds, operations(model)))
    assert list(operations(model))[-1].output_size == (256, 256, 2)
