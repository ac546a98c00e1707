"""PyTorch's answers to the contract suite."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from backends.torch_layers import BatchNorm, Conv, DepthwiseConv, relu_
from tests.contract import references
from tests.contract.hooks import FrameworkHooks


class _Tiny(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = Conv(1, 4, 3)
        self.norm = BatchNorm(4, momentum=0.5)
        self.dropout = nn.Dropout(0.5)
        self.mix = DepthwiseConv(4, 3)
        self.head = Conv(4, classes, 1)

    def forward(self, input: Tensor) -> Tensor:
        return self.head(self.mix(self.dropout(relu_(self.norm(self.conv(input))))))


class _TwoNorms(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        for name, (inputs, outputs) in references.WIDTHS.items():
            self.add_module(name, Conv(inputs, outputs, 1))
            self.add_module(f"{name}_norm", BatchNorm(outputs))
        self.dropout = nn.Dropout(0.5)
        self.head = Conv(4, classes, 1)

    def forward(self, input: Tensor) -> Tensor:
        for name in references.WIDTHS:
            norm = self.get_submodule(f"{name}_norm")
            input = self.dropout(relu_(norm(self.get_submodule(name)(input))))
        return self.head(input)


class _Sorted(nn.Module):
    def forward(self, input: Tensor) -> Tensor:
        return torch.cat([input, input.sort(2).values], 1)


class Hooks(FrameworkHooks):
    name = "torch"
    uncounted_name = r"aten\.sort"

    @override
    def tiny(self, *, classes: int, height: int, width: int) -> nn.Module:
        return _Tiny(classes)

    @override
    def two_norms(self, *, classes: int, height: int, width: int) -> nn.Module:
        return _TwoNorms(classes)

    @override
    def uncounted(self, *, classes: int, height: int, width: int) -> nn.Module:
        return _Sorted()
