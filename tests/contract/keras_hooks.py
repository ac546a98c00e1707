"""The answers of Keras on TensorFlow to the contract suite."""

from __future__ import annotations

import keras
from typing_extensions import override

# The backend chooses the engine of Keras, so it is imported before Keras is.
from backends.keras_backend import KerasBackend  # noqa: F401
from backends.keras_layers import conv, depthwise, dropout, image_input, norm, relu
from tests.contract import references
from tests.contract.hooks import FrameworkHooks


class Hooks(FrameworkHooks):
    name = "keras"
    rounding = frozenset({"conv.bias"})
    uncounted_name = "Softmax has no rule"

    @override
    def tiny(self, *, classes: int, height: int, width: int) -> keras.Model:
        image = image_input(height, width)
        x = dropout(relu(norm(conv(image, "conv", 4, 3), "norm", 0.5)), 0.5)
        return keras.Model(image, conv(depthwise(x, "mix", 3), "head", classes))

    @override
    def two_norms(self, *, classes: int, height: int, width: int) -> keras.Model:
        x = image = image_input(height, width)
        for name, (_, outputs) in references.WIDTHS.items():
            x = dropout(relu(norm(conv(x, name, outputs), f"{name}_norm")), 0.5)
        return keras.Model(image, conv(x, "head", classes))

    @override
    def uncounted(self, *, classes: int, height: int, width: int) -> keras.Model:
        image = image_input(height, width)
        return keras.Model(image, keras.layers.Softmax()(conv(image, "head", classes)))
