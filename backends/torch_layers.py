"""Layers that the PyTorch networks share, under one rule of padding: TensorFlow's SAME.

SAME: output = ceil(in / stride); if the total padding is odd, the extra row and column go after
(bottom, right). Tensors are (n, channels, height, width), float32, in channels-last memory, which
trains 14 % faster on a CPU than channels-first and makes NHWC at the border a free permutation.

Weights are made as zeros: the harness draws the initial values (see `backends.weights`).
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from backends.errors import require_variance
from backends.interpolation import linear_weights

Pair = tuple[int, int]


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> Pair:
    """Rows (or columns) that SAME adds (before, after) an axis of `size`."""
    total = max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
    return total // 2, total - total // 2


def _pair(value: int | Pair) -> Pair:
    return (value, value) if isinstance(value, int) else value


class Conv(nn.Conv2d):
    """Convolution with SAME padding."""

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: int | Pair,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        super().__init__(
            channels, filters, _pair(kernel), stride, 0, dilation, groups=groups, bias=bias
        )

    @override
    def reset_parameters(self) -> None:
        """Zeros: the values are loaded later."""
        _zero(self)

    @override
    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, ceil(h / stride), ceil(w / stride))."""
        if self.kernel_size == (1, 1) and self.stride != (1, 1) and torch.is_grad_enabled():
            # The same values. PyTorch 2.13's backward pass of such a convolution writes outside of
            # its memory on a CPU (8 to 32 channels, 128×128, channels last: DFANet at 256×256).
            taken = input[:, :, :: self.stride[0], :: self.stride[1]]
            return functional.conv2d(taken, self.weight, self.bias, groups=self.groups)
        top, bottom = self._padding(input.shape[2], 0)
        left, right = self._padding(input.shape[3], 1)
        if top != bottom or left != right:
            # The convolution itself pads both ends alike, so uneven padding costs a copy.
            input = functional.pad(input, (left, right, top, bottom))
            top = left = 0
        return functional.conv2d(
            input, self.weight, self.bias, self.stride, (top, left), self.dilation, self.groups
        )

    def _padding(self, size: int, axis: int) -> Pair:
        return same_padding(size, self.kernel_size[axis], self.stride[axis], self.dilation[axis])


class DepthwiseConv(Conv):
    """Convolution of each channel with its own filter."""

    def __init__(self, channels: int, kernel: int, *, stride: int = 1, bias: bool = True) -> None:
        super().__init__(channels, channels, kernel, stride=stride, groups=channels, bias=bias)

    @override
    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, channels, ceil(h / stride), ceil(w / stride))."""
        if input.dtype != torch.float64 or input.is_cuda:
            return super().forward(input)
        # On a CPU PyTorch multiplies float64 matrices channel by channel; a sum over the kernel's
        # places takes a fiftieth of that.
        (top, bottom), (left, right) = (
            self._padding(input.shape[2], 0),
            self._padding(input.shape[3], 1),
        )
        padded = functional.pad(input, (left, right, top, bottom))
        windows = padded.unfold(2, self.kernel_size[0], self.stride[0])
        windows = windows.unfold(3, self.kernel_size[1], self.stride[1])
        taps = (
            windows[..., i, j] * self.weight[:, 0, i, j, None, None]
            for i in range(self.kernel_size[0])
            for j in range(self.kernel_size[1])
        )
        output = sum(taps, start=torch.zeros((), dtype=input.dtype))
        return output if self.bias is None else output + self.bias[:, None, None]


class SeparableConv(nn.Module):
    """Depthwise convolution without bias, directly followed by a pointwise one."""

    def __init__(
        self, channels: int, filters: int, kernel: int = 3, *, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(channels, kernel, stride=stride, bias=False)
        self.pointwise = Conv(channels, filters, 1, bias=bias)

    @override
    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, ceil(h / stride), ceil(w / stride))."""
        return self.pointwise(self.depthwise(input))


class ConvTranspose(nn.ConvTranspose2d):
    """Transposed convolution with SAME padding: output = in · stride.

    The full output has kernel − stride rows too many; half of them, rounded down, are dropped
    before, the rest after.
    """

    def __init__(
        self, channels: int, filters: int, kernel: int, *, stride: int, bias: bool = True
    ) -> None:
        super().__init__(
            channels, filters, kernel, stride, padding=(kernel - stride) // 2, bias=bias
        )

    @override
    def reset_parameters(self) -> None:
        """Zeros: the values are loaded later."""
        _zero(self)

    @override
    def forward(self, input: Tensor, output_size: list[int] | None = None) -> Tensor:
        """(n, channels, h, w) → (n, filters, h · stride, w · stride)."""
        full = super().forward(input)
        height, width = (
            size * step for size, step in zip(input.shape[2:], self.stride, strict=True)
        )
        return full[:, :, :height, :width]


class BatchNorm(nn.BatchNorm2d):
    """Batch normalisation whose running variance is the biased one, as in Keras and Flax.

    `momentum` is meant in Keras' sense: running = momentum · running + (1 − momentum) · batch.
    """

    running_mean: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]
    running_var: Tensor  # pyright: ignore[reportIncompatibleVariableOverride]

    def __init__(self, channels: int, *, momentum: float = 0.99) -> None:
        super().__init__(channels, eps=1e-3, momentum=1.0 - momentum)
        # Counts steps for a cumulative mean, which is not used here.
        self.num_batches_tracked = None
        # Only read in loading: PyTorch would add that counter to a state dict without the version
        # that safetensors cannot hold, and then refuse it as a key too many.
        self.track_running_stats = False

    @override
    def forward(self, input: Tensor) -> Tensor:
        """Normalise (n, channels, h, w). In training one value per channel raises `SizeError`."""
        if not self.training:
            return functional.batch_norm(
                input, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps
            )
        count = input.numel() // input.shape[1]
        require_variance(count)
        # PyTorch adds the unbiased variance, biased · n / (n − 1): scaled by that before and back
        # after, the running one ends as (1 − m) · running + m · biased. On a copy, because the
        # backward pass keeps hold of what it was given.
        variance = self.running_var * (count / (count - 1))
        output = functional.batch_norm(
            input,
            self.running_mean,
            variance,
            self.weight,
            self.bias,
            training=True,
            momentum=self.momentum or 0.0,
            eps=self.eps,
        )
        torch.mul(variance, (count - 1) / count, out=self.running_var)
        return output


class ConvNorm(nn.Module):
    """Convolution → batch normalisation, with no activation between."""

    def __init__(
        self,
        channels: int,
        filters: int,
        kernel: int | Pair,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
        momentum: float = 0.99,
    ) -> None:
        super().__init__()
        self.conv = Conv(
            channels,
            filters,
            kernel,
            stride=stride,
            dilation=dilation,
            groups=groups,
            bias=bias,
        )
        self.norm = BatchNorm(filters, momentum=momentum)

    @override
    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, ceil(h / stride), ceil(w / stride))."""
        return self.norm(self.conv(input))


class ConvNormReLU(ConvNorm):
    """Convolution → batch normalisation → ReLU."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → (n, filters, ceil(h / stride), ceil(w / stride))."""
        return relu_(super().forward(input))


class PReLU(nn.PReLU):
    """Leaky ReLU with one learnt slope per channel."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, init=0.0)


class ChannelShuffle(nn.Module):
    """Channels seen as (groups, channels / groups), transposed, flattened."""

    def __init__(self, groups: int) -> None:
        super().__init__()
        self.groups = groups

    @override
    def forward(self, input: Tensor) -> Tensor:
        """(n, channels, h, w) → the same shape."""
        # Done on NHWC so that the result keeps channels-last memory.
        grouped = input.permute(0, 2, 3, 1).unflatten(3, (self.groups, -1))
        return grouped.transpose(3, 4).flatten(3).permute(0, 3, 1, 2)


def relu_(input: Tensor) -> Tensor:
    """ReLU in place: the caller must not need `input` any more."""
    return functional.relu(input, inplace=True)


def max_pool(input: Tensor, kernel: int = 2, stride: int = 2) -> Tensor:
    """Max pooling, SAME, padded with −∞: (n, c, h, w) → (n, c, ceil(h / s), ceil(w / s))."""
    # `ceil_mode` lets the last window hang over the edge: the row that SAME adds after, no copy.
    return functional.max_pool2d(
        input, kernel, stride, _before(input, kernel, stride), ceil_mode=True
    )


def max_pool_valid(input: Tensor, kernel: int, stride: int) -> Tensor:
    """Max pooling without padding."""
    return functional.max_pool2d(input, kernel, stride)


def max_pool_places(input: Tensor) -> tuple[Tensor, Tensor]:
    """2×2 max pooling of even sides, and where each maximum stood (ties: first in row order)."""
    if torch.compiler.is_exporting():
        # Runtimes that read ONNX scatter by index: OpenVINO took 1.5 s for SegNet at 256×256. What
        # is exported tells the place, 0 to 3, by comparing.
        return _compared(input)
    if _trains_on_gpu(input):
        return functional.max_pool2d(input, 2, 2), _compared(input.detach())[1]
    return functional.max_pool2d(input, 2, 2, return_indices=True)


def _compared(input: Tensor) -> tuple[Tensor, Tensor]:
    """2×2 maxima and their places, 0 to 3 in row order; its gradient would share out ties."""
    upper, lower = input[:, :, 0::2], input[:, :, 1::2]
    a, b, c, d = (row[..., side::2] for row in (upper, lower) for side in (0, 1))
    above, below = torch.maximum(a, b), torch.maximum(c, d)
    places = torch.where(above >= below, (a < b).int(), (c < d).int() + 2)
    return torch.maximum(above, below), places


def max_unpool(input: Tensor, places: Tensor) -> Tensor:
    """Put each value back where `max_pool_places` found it, zeros elsewhere: sides × 2."""
    if torch.compiler.is_exporting() or _trains_on_gpu(input):
        a, b, c, d = (torch.where(places == place, input, 0.0) for place in range(4))
        rows = [torch.stack(pair, -1).flatten(-2) for pair in ((a, b), (c, d))]
        return torch.stack(rows, -2).flatten(2, 3)
    return functional.max_unpool2d(input, places, (2, 2), (2, 2))


def _trains_on_gpu(input: Tensor) -> bool:
    """There PyTorch has no deterministic unpooling, nor a gradient of bilinear resizing.

    Asked for determinism, it would write the latter out in three times as many calls.
    """
    return input.is_cuda and torch.is_grad_enabled()


def average_pool(input: Tensor, kernel: int, stride: int) -> Tensor:
    """Average pooling, SAME, the padding left out of the mean."""
    padding = _before(input, kernel, stride)
    return functional.avg_pool2d(
        input, kernel, stride, padding, ceil_mode=True, count_include_pad=False
    )


def average_pool_valid(input: Tensor, kernel: int | Pair) -> Tensor:
    """Average pooling without padding, stride = kernel."""
    return functional.avg_pool2d(input, kernel, kernel)


def global_mean(input: Tensor) -> Tensor:
    """(n, c, h, w) → (n, c, 1, 1)."""
    return input.mean((2, 3), keepdim=True)


def upsample_nearest(input: Tensor, factor: int) -> Tensor:
    """Nearest-neighbour upsampling of both sides by a whole factor."""
    return functional.interpolate(input, scale_factor=factor, mode="nearest")


def resize_nearest(input: Tensor, size: Pair) -> Tensor:
    """Resize to (h, w), source index floor((i + ½) · in / out)."""
    return functional.interpolate(input, size, mode="nearest-exact")


def resize_bilinear(input: Tensor, size: Pair) -> Tensor:
    """Bilinear resize to (h, w), half-pixel centres, no antialiasing, also when shrinking."""
    if _trains_on_gpu(input):
        return _by_products(input, size)
    return functional.interpolate(
        input, size, mode="bilinear", align_corners=False, antialias=False
    )


def _by_products(input: Tensor, size: Pair) -> Tensor:
    """The same as a product of matrices along each axis.

    In bfloat16 too: the weights of a whole factor up to 64 are exact there.
    """
    rows, columns = (
        _linear_weights(*lengths, input.device).to(input.dtype)
        for lengths in zip(input.shape[2:], size, strict=True)
    )
    half = torch.einsum("ah,nchw->ncaw", rows, input)
    return torch.einsum("bw,ncaw->ncab", columns, half)


@cache
def _linear_weights(source: int, target: int, device: torch.device) -> Tensor:
    """Kept: to bring them to a GPU anew would make each step wait."""
    return torch.tensor(linear_weights(source, target), device=device)


def upsample_bilinear(input: Tensor, factor: int) -> Tensor:
    """Bilinear upsampling of both sides by a whole factor."""
    return resize_bilinear(input, (input.shape[2] * factor, input.shape[3] * factor))


def _before(input: Tensor, kernel: int, stride: int) -> Pair:
    return (
        same_padding(input.shape[2], kernel, stride)[0],
        same_padding(input.shape[3], kernel, stride)[0],
    )


def _zero(layer: nn.Conv2d | nn.ConvTranspose2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
