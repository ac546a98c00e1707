"""Analytic counts against cases that are worked out by hand."""

from __future__ import annotations

import pytest

from backends.contract import Operation, WeightSpec
from backends.errors import Unsupported
from harness.measuring.cost import count, multiply_adds


def operation(kind, input_size, output_size, **rest):
    return Operation(name="x", kind=kind, input_size=input_size, output_size=output_size, **rest)


@pytest.mark.parametrize(
    ("case", "expected"),
    [
        # 4·4 places, 5 filters, 3 channels, 3·3 taps
        (operation("conv", (8, 8, 3), (4, 4, 5), kernel=(3, 3), stride=(2, 2)), 2160),
        # grouped: each filter sees 6 / 2 channels
        (operation("conv", (4, 4, 6), (4, 4, 4), kernel=(1, 1), groups=2), 192),
        # depthwise: each filter sees one channel
        (operation("conv", (4, 4, 6), (4, 4, 6), kernel=(3, 3), groups=6), 864),
        # transposed: 4·4 places of the input, not 8·8 of the output
        (operation("conv_transpose", (4, 4, 3), (8, 8, 2), kernel=(3, 3), stride=(2, 2)), 864),
        (operation("max_pool", (4, 4, 3), (2, 2, 3), kernel=(2, 2)), 0),
    ],
)
def test_multiply_adds(case, expected):
    assert multiply_adds(case) == expected


@pytest.mark.parametrize(
    ("case", "other", "paper"),
    [
        (operation("conv", (2, 2, 1), (2, 2, 3), bias=True), 12, 12),
        (operation("conv", (2, 2, 1), (2, 2, 3)), 0, 0),
        (operation("conv_transpose", (2, 2, 1), (4, 4, 3), bias=True), 48, 48),
        (operation("batch_norm", (2, 2, 3), (2, 2, 3)), 24, 24),
        (operation("add", (2, 2, 3), (2, 2, 3)), 12, 12),
        (operation("multiply", (1, 1, 3), (2, 2, 3)), 12, 12),
        (operation("max_pool", (4, 4, 3), (2, 2, 3), kernel=(3, 3)), 108, 108),
        (operation("average_pool", (4, 4, 3), (2, 2, 3), kernel=(2, 2)), 48, 48),
        (operation("global_mean", (4, 4, 3), (1, 1, 3)), 48, 48),
        (operation("prelu", (2, 2, 3), (2, 2, 3)), 36, 36),
        (operation("relu", (2, 2, 3), (2, 2, 3)), 12, 0),
        (operation("sigmoid", (2, 2, 3), (2, 2, 3)), 12, 0),
        (operation("resize", (2, 2, 3), (4, 4, 3)), 48, 0),
        (operation("max_unpool", (2, 2, 3), (4, 4, 3)), 48, 0),
        (operation("concatenate", (2, 2, 3), (2, 2, 6)), 0, 0),
        (operation("shuffle", (2, 2, 4), (2, 2, 4)), 0, 0),
    ],
)
def test_operations_beside_the_multiply_adds(case, other, paper):
    cost = count([case], [])
    height, width, classes = case.output_size
    softmax = 5 * height * width * classes
    assert cost.other_ops == other
    assert cost.paper_convention_gflops is not None
    assert cost.paper_convention_gflops * 1e9 == pytest.approx(cost.flops + paper + softmax)


def test_size_and_parameters():
    specs = [
        WeightSpec(name="head.kernel", shape=(1, 1, 4, 2), trainable=True),
        WeightSpec(name="head.bias", shape=(2,), trainable=True),
        WeightSpec(name="norm.mean", shape=(4,), trainable=False),
    ]
    cost = count([operation("conv", (64, 128, 4), (64, 128, 2), bias=True)], specs)
    assert (cost.height, cost.width) == (64, 128)
    assert (cost.trainable_parameters, cost.other_parameters) == (10, 4)
    assert cost.macs == 64 * 128 * 8
    assert cost.flops == 2 * cost.macs


def test_unknown_operation_is_no_number():
    with pytest.raises(Unsupported, match="fourier"):
        count([operation("fourier", (4, 4, 1), (4, 4, 1))], [])
    with pytest.raises(Unsupported, match="no operations"):
        count([], [])
