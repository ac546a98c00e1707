"""Layers shared by the Flax networks: NHWC, padding and rounding by one stated rule.

Layers that own weights or randomness are `nnx.Module`s; their attributes carry the canonical names
of `backends.weights`, so that the path of a variable in the module *is* its canonical name. Weights
start as plain NumPy constants: the harness loads values afterwards, and a jitted initialisation
would cost tens of seconds (48 → 2.3 s for DFANet).

All layers take and give (n, height, width, channels). What owns no weights is in
`backends.flax_operations`.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from typing_extensions import override

from backends.errors import require_variance
from backends.flax_operations import counted, relu, report

EPSILON = 1e-3
Pair = tuple[int, int]
DIMENSIONS = ("NHWC", "HWIO", "NHWC")


def _pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


class Conv(nnx.Module):
    """Convolution with SAME padding (an odd row or column goes after), with a bias by default.

    The input is cast to the kernel's dtype, so that a network runs in the precision of its kernels.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 3,
        *,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        bias: bool = True,
    ) -> None:
        shape = (*_pair(kernel), inputs // groups, outputs)
        self.kernel = nnx.Param(np.zeros(shape, np.float32))
        self.bias = nnx.Param(np.zeros(outputs, np.float32)) if bias else None
        self.stride, self.dilation, self.groups = _pair(stride), _pair(dilation), groups

    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        if x.dtype == jnp.float64:
            return self.by_taps(x, kernel)
        return lax.conv_general_dilated(
            x,
            kernel,
            self.stride,
            "SAME",
            rhs_dilation=self.dilation,
            dimension_numbers=DIMENSIONS,
            feature_group_count=self.groups,
        )

    def by_taps(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        """The convolution as a sum over the places of its kernel."""
        reach = [1 + (k - 1) * d for k, d in zip(kernel.shape[:2], self.dilation, strict=True)]
        padding = lax.padtype_to_pads(x.shape[1:3], reach, self.stride, "SAME")
        x = jnp.pad(x, ((0, 0), *padding, (0, 0)))
        return _sum_of_taps(x, kernel, self.stride, self.dilation, self.groups)

    @counted
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...]
        y = self.convolve(x.astype(kernel.dtype), kernel)
        if self.bias is not None:
            y = y + self.bias[...]
        return report(
            self,
            "conv",
            x,
            y,
            kernel=kernel.shape[:2],
            stride=self.stride,
            dilation=self.dilation,
            groups=self.groups,
            bias=self.bias is not None,
        )


class DepthwiseConv(Conv):
    """Depthwise convolution; `shifted` computes it as k² shifted multiply-adds.

    XLA's grouped convolution is slow on a CPU (17 ms; the shifted form takes 0.4). The values
    agree to rounding; the form is chosen by the execution plan and never silently.
    """

    def __init__(
        self, channels: int, kernel: int = 3, *, stride: int = 1, bias: bool = True
    ) -> None:
        super().__init__(channels, channels, kernel, stride=stride, groups=channels, bias=bias)
        self.shifted = False

    @override
    def convolve(self, x: jax.Array, kernel: jax.Array) -> jax.Array:
        return self.by_taps(x, kernel) if self.shifted else super().convolve(x, kernel)


class ConvTranspose(nnx.Module):
    """Transposed convolution, SAME: output = input · stride.

    The gradient of a convolution: output[y·s + i] += input[y] · kernel[i]. Of the k − s surplus
    rows and columns the smaller half is dropped before, the larger after.
    """

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int, bias: bool = True
    ) -> None:
        self.kernel = nnx.Param(np.zeros((kernel, kernel, inputs, outputs), np.float32))
        self.bias = nnx.Param(np.zeros(outputs, np.float32)) if bias else None
        self.stride = stride

    @counted
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.kernel[...]
        size, stride = kernel.shape[0], self.stride
        before = (size - stride) // 2
        pads = (size - 1 - before, stride - 1 + before)
        y = self.convolve(x.astype(kernel.dtype), kernel[::-1, ::-1], pads)
        if self.bias is not None:
            y = y + self.bias[...]
        return report(
            self,
            "conv_transpose",
            x,
            y,
            kernel=(size, size),
            stride=(stride, stride),
            bias=self.bias is not None,
        )

    def convolve(self, x: jax.Array, kernel: jax.Array, pads: Pair) -> jax.Array:
        """The convolution of x with zeros put between and around its rows and columns."""
        step = self.stride
        if x.dtype == jnp.float64:
            none, side = (0, 0, 0), (*pads, step - 1)
            spread = lax.pad(x, jnp.zeros((), x.dtype), (none, side, side, none))
            return _sum_of_taps(spread, kernel, (1, 1), (1, 1), 1)
        return lax.conv_general_dilated(
            x,
            kernel,
            (1, 1),
            (pads, pads),
            lhs_dilation=(step, step),
            dimension_numbers=DIMENSIONS,
        )


def _sum_of_taps(
    x: jax.Array, kernel: jax.Array, stride: Pair, dilation: Pair, groups: int
) -> jax.Array:
    """Convolution of a padded x, each place of the kernel a strided view of x times a matrix.

    XLA has no float64 convolution for CPUs but plain loops; its matrix products it has.
    """
    starts = [[d * i for i in range(k)] for k, d in zip(kernel.shape[:2], dilation, strict=True)]
    lengths = [
        (side - places[-1] - 1) // step * step + 1
        for side, places, step in zip(x.shape[1:3], starts, stride, strict=True)
    ]
    taps = [
        _tap(
            x[:, top : top + lengths[0] : stride[0], left : left + lengths[1] : stride[1]],
            kernel[i, j],
            groups,
        )
        for i, top in enumerate(starts[0])
        for j, left in enumerate(starts[1])
    ]
    return sum(taps[1:], start=taps[0])


def _tap(x: jax.Array, weights: jax.Array, groups: int) -> jax.Array:
    """(n, h, w, inputs) times (inputs / groups, outputs), each group by its own part."""
    if groups == 1:
        return x @ weights
    if len(weights) == 1 and weights.shape[1] == groups:
        return x * weights[0]
    parts = zip(jnp.split(x, groups, -1), jnp.split(weights, groups, -1), strict=True)
    return jnp.concatenate([part @ own for part, own in parts], -1)


# Inner jits are inlined by XLA; they are traced once per shape, not once per layer, which halves
# the tracing of networks with many layers (DFANet has 150 normalisations).
@jax.jit
def _moments(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    # Of bfloat16 values too: their mean and variance are float32.
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    mean = x.mean((0, 1, 2))
    return mean, jnp.square(x - mean).mean((0, 1, 2))


@jax.jit
def _normalise(
    x: jax.Array, mean: jax.Array, variance: jax.Array, gamma: jax.Array, beta: jax.Array
) -> jax.Array:
    return ((x - mean) * (gamma * lax.rsqrt(variance + EPSILON)) + beta).astype(x.dtype)


class BatchNorm(nnx.Module):
    """Batch normalisation, epsilon 1e-3; the running variance is the biased one.

    `momentum` is Keras': running = momentum · running + (1 − momentum) · batch. Running values
    stay float32 in every plan. In training one value per channel raises `SizeError`.
    """

    def __init__(self, channels: int, momentum: float = 0.99) -> None:
        self.gamma = nnx.Param(np.ones(channels, np.float32))
        self.beta = nnx.Param(np.zeros(channels, np.float32))
        self.mean = nnx.BatchStat(np.zeros(channels, np.float32))
        self.variance = nnx.BatchStat(np.ones(channels, np.float32))
        self.momentum = momentum
        self.use_running_average = True  # switched by nnx.Module.train and .eval

    @counted
    def __call__(self, x: jax.Array) -> jax.Array:
        mean, variance = self.mean[...], self.variance[...]
        if not self.use_running_average:
            require_variance(x.size // x.shape[3])
            running = mean, variance
            mean, variance = _moments(x)
            # Not `self.mean[...] = `: that searches the whole trace for the value's sharding.
            for kept, old, new in zip(
                (self.mean, self.variance), running, (mean, variance), strict=True
            ):
                kept.set_value(self.momentum * old + (1 - self.momentum) * new)
        y = _normalise(x, mean, variance, self.gamma[...], self.beta[...])
        return report(self, "batch_norm", x, y)


class Chain(nnx.List):
    """Layers called one after the other; paths are those of a list (`0`, `1` …)."""

    def __call__(self, x: jax.Array) -> jax.Array:
        for layer in self:
            x = layer(x)
        return x


class ConvNorm(nnx.Module):
    """Convolution, then batch normalisation."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        kernel: int | tuple[int, int] = 3,
        *,
        momentum: float = 0.99,
        **options: Any,
    ) -> None:
        self.conv = Conv(inputs, outputs, kernel, **options)
        self.norm = BatchNorm(outputs, momentum)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.norm(self.conv(x))


class ConvNormReLU(ConvNorm):
    """Convolution, batch normalisation, ReLU."""

    @override
    def __call__(self, x: jax.Array) -> jax.Array:
        return relu(super().__call__(x))


class SeparableConv(nnx.Module):
    """Depthwise convolution without bias, directly followed by a pointwise one."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int = 3, *, stride: int = 1, bias: bool = True
    ) -> None:
        self.depthwise = DepthwiseConv(inputs, kernel, stride=stride, bias=False)
        self.pointwise = Conv(inputs, outputs, 1, bias=bias)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.pointwise(self.depthwise(x))


class PReLU(nnx.Module):
    """max(x, 0) + alpha · min(x, 0), one alpha per channel."""

    def __init__(self, channels: int) -> None:
        self.alpha = nnx.Param(np.zeros(channels, np.float32))

    @counted
    def __call__(self, x: jax.Array) -> jax.Array:
        y = jnp.where(x > 0, x, self.alpha[...].astype(x.dtype) * x)
        return report(self, "prelu", x, y)


class Dropout(nnx.Module):
    """Zero each value, or with `spatial` each whole channel, with probability `rate`.

    What is kept is divided by 1 − rate. `key` is set by `seed_dropout` inside each training step.
    """

    def __init__(self, rate: float, *, spatial: bool = False) -> None:
        self.rate, self.spatial = rate, spatial
        self.deterministic = True  # switched by nnx.Module.train and .eval
        self.key: Any = nnx.data(None)

    def __call__(self, x: jax.Array) -> jax.Array:
        if self.deterministic:
            return x
        shape = (x.shape[0], 1, 1, x.shape[3]) if self.spatial else x.shape
        kept = jax.random.bernoulli(self.key, 1 - self.rate, shape)
        return jnp.where(kept, x / (1 - self.rate), 0)


def seed_dropout(module: nnx.Module, key: jax.Array) -> None:
    """Give every dropout layer of the module its own key, derived from `key`."""
    layers = [part for _, part in nnx.iter_modules(module) if isinstance(part, Dropout)]
    for number, layer in enumerate(layers):
        layer.key = jax.random.fold_in(key, number)


def shift_depthwise(module: nnx.Module, shifted: bool) -> None:
    """Choose the form of every depthwise convolution of the module (see `DepthwiseConv`)."""
    for _, part in nnx.iter_modules(module):
        if isinstance(part, DepthwiseConv):
            part.shifted = shifted
