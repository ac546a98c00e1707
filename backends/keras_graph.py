"""What a functional Keras network holds: its weights in canonical form, and its operations.

Both are read from the layers by their class, so a network file needs to declare neither.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import layers

from backends import keras_layer_classes as own
from backends.contract import (
    Array,
    Operation,
    OperationKind,
    WeightSpec,
)
from backends.errors import BackendError, Unsupported
from backends.keras_engine import canonical_path

Size = tuple[int, int, int]

_OWN_NAMES = {"moving_mean": "mean", "moving_variance": "variance"}
_CANONICAL = (
    *(layers.Conv2D, layers.Conv2DTranspose, layers.DepthwiseConv2D),
    *(layers.BatchNormalization, layers.PReLU),
)
_SWAPPED = (layers.Conv2DTranspose, layers.DepthwiseConv2D)

# Layers that compute nothing at inference, or move values without computing.
_FREE = (
    layers.InputLayer,
    layers.Dropout,
    own.SplitChannels,
    own.PadChannels,
)
_PLAIN: tuple[tuple[type, OperationKind], ...] = (
    (layers.BatchNormalization, "batch_norm"),
    (layers.PReLU, "prelu"),
    (layers.Add, "add"),
    (layers.Multiply, "multiply"),
    (layers.GlobalAveragePooling2D, "global_mean"),
    (layers.Concatenate, "concatenate"),
    (own.Resize, "resize"),
    (own.ChannelShuffle, "shuffle"),
    (own.MaxUnpool, "max_unpool"),
)
_ACTIVATIONS: dict[Callable[..., Any], OperationKind] = {
    keras.activations.relu: "relu",
    keras.activations.sigmoid: "sigmoid",
}


@dataclass(frozen=True)
class Slot:
    """One variable of a network, with its canonical name and layout."""

    spec: WeightSpec
    variable: Any  # keras.Variable
    swapped: bool  # Keras keeps the last two axes of the canonical layout the other way round

    def to_canonical(self, value: Array) -> Array:
        """A copy in canonical layout and dtype of an array in the variable's layout."""
        return self.arranged(np.array(value, self.spec.dtype))

    def arranged(self, value: Array) -> Array:
        """The array in canonical layout, of its own dtype."""
        if self.swapped:
            return np.ascontiguousarray(value.swapaxes(-1, -2))
        return value.reshape(self.spec.shape)

    def from_canonical(self, value: Array) -> Array:
        """An array in the variable's layout from one in canonical layout."""
        return value.swapaxes(-1, -2) if self.swapped else value.reshape(self.variable.shape)


def slots(model: keras.Model) -> Iterator[Slot]:
    """All weights of a network, in an order in which its layers can run.

    In canonical form if all layers with weights have one, else all native: in Keras' own shapes and
    dtypes, named by place, class and own name, since Keras numbers its names through the process.
    """
    owners = [layer for layer in model.layers if layer.weights]
    if not all(isinstance(layer, _CANONICAL) for layer in owners):
        yield from _native(owners)
        return
    for layer in owners:
        for variable in layer.weights:
            shape = tuple(variable.shape)
            swapped = isinstance(layer, _SWAPPED) and variable.name == "kernel"
            if swapped:
                shape = (*shape[:-2], shape[-1], shape[-2])
            elif len(shape) == 3:  # the slopes of PReLU, (1, 1, c) in Keras
                shape = shape[-1:]
            own_name = _OWN_NAMES.get(variable.name, variable.name)
            spec = WeightSpec(
                name=f"{canonical_path(layer.name)}.{own_name}",
                shape=shape,
                trainable=variable.trainable,
            )
            yield Slot(spec, variable, swapped)


def _native(owners: Sequence[Any]) -> Iterator[Slot]:
    for place, layer in enumerate(owners):
        for number, variable in enumerate(layer.weights):
            spec = WeightSpec(
                name=f"{place}.{type(layer).__name__}.{number}.{variable.name}",
                shape=tuple(variable.shape),
                trainable=variable.trainable,
                native=True,
                dtype=str(variable.dtype),
            )
            yield Slot(spec, variable, swapped=False)


def require_precision(model: keras.Model, precision: str) -> None:
    """Raise `BackendError` naming the first layer with weights that computes in another dtype."""
    for layer in model.layers:
        if layer.weights and layer.compute_dtype != precision:
            raise BackendError(
                f"layer {layer.name!r} computes in {layer.compute_dtype}, the plan in {precision}: "
                "give layers no dtype of their own."
            )


def operations(model: keras.Model) -> Iterator[Operation]:
    """One inference at batch size 1, in an order in which it can run.

    Raises `Unsupported` for a layer that has no rule here: a count that leaves something out would
    be wrong silently.
    """
    for layer in model.layers:
        if isinstance(layer, _FREE):
            continue
        kind, attributes = _describe(layer)
        # A sum or product of n tensors is n - 1 operations of two.
        pairs = max(1, len(_tensors(layer.input)) - 1) if kind in ("add", "multiply") else 1
        for _ in range(pairs):
            yield Operation(
                name=canonical_path(layer.name),
                kind=kind,
                input_size=_size(layer.input),
                output_size=_size(layer.output),
                **attributes,
            )


def _describe(layer: Any) -> tuple[OperationKind, dict[str, Any]]:
    if isinstance(layer, layers.Conv2DTranspose):
        return "conv_transpose", _window(layer)
    if isinstance(layer, layers.DepthwiseConv2D):
        return "conv", {**_window(layer), "groups": _size(layer.input)[2]}
    if isinstance(layer, layers.Conv2D):
        return "conv", {**_window(layer), "groups": layer.groups}
    if isinstance(layer, own.MaxPoolWithPlaces):
        return "max_pool", {"kernel": (2, 2), "stride": (2, 2)}
    if isinstance(layer, layers.MaxPooling2D):
        return "max_pool", {"kernel": layer.pool_size, "stride": layer.strides}
    if isinstance(layer, layers.AveragePooling2D):
        return "average_pool", {"kernel": layer.pool_size, "stride": layer.strides}
    if isinstance(layer, layers.Activation) and layer.activation in _ACTIVATIONS:
        return _ACTIVATIONS[layer.activation], {}
    for kind_of_layer, kind in _PLAIN:
        if isinstance(layer, kind_of_layer):
            return kind, {}
    raise Unsupported(
        f"layer {layer.name!r} of class {type(layer).__name__} has no rule for counting: "
        "add one to backends/keras_graph.py."
    )


def _window(layer: Any) -> dict[str, Any]:
    return {
        "kernel": tuple(layer.kernel_size),
        "stride": tuple(layer.strides),
        "dilation": tuple(layer.dilation_rate),
        "bias": layer.use_bias,
    }


def _tensors(tensors: Any) -> list[Any]:
    return list(tensors) if isinstance(tensors, list | tuple) else [tensors]


def _size(tensors: Any) -> Size:
    _, height, width, channels = _tensors(tensors)[0].shape
    return height, width, channels
