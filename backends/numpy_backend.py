"""NumPy: for rules that are not networks. Nothing to train, no weights, nothing asynchronous."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np
from typing_extensions import override

from backends.contract import (
    Array,
    Backend,
    Bytes,
    Capabilities,
    Inference,
    Network,
    Operation,
    Runtime,
    Trainer,
    TrainingOptions,
    Weights,
    WeightSpec,
)
from backends.errors import (
    Unsupported,
    require_images,
    require_logits,
    require_shape,
    require_size,
)
from backends.plans import PLANS, require
from backends.weights import check_weights

Forward = Callable[[Array], Array]


class NumpyInference(Inference):
    """A call of the function; it returns when it is done."""

    def __init__(self, forward: Forward, images: Array, quantity: str) -> None:
        self._forward = forward
        self._images = images
        self._masks = quantity == "end_to_end"

    @override
    def set_images(self, images: Array) -> None:
        require_shape(images, self._images.shape)
        self._images = images

    @override
    def launch(self) -> Array:
        logits = self._forward(self._images)
        return logits.argmax(axis=3).astype(np.uint8) if self._masks else logits

    @override
    def synchronise(self, result: Any) -> None:
        """NumPy has finished when it returns."""

    @override
    def logits(self, result: Any) -> Array:
        return result

    @override
    def compilations(self) -> int:
        return 0


class NumpyNetwork(Network):
    """A function on arrays behind the contract of a network."""

    def __init__(self, forward: Forward, *, classes: int, height: int, width: int) -> None:
        self._forward = forward
        self.classes, self.height, self.width = classes, height, width

    @override
    def weight_specs(self) -> tuple[WeightSpec, ...]:
        return ()

    @override
    def weights(self) -> dict[str, Array]:
        return {}

    @override
    def set_weights(self, weights: Weights) -> None:
        check_weights(weights, ())

    @override
    def predict(self, images: Array) -> Array:
        require_images(images, self.height, self.width)
        logits = self._forward(images)
        require_logits(logits, (len(images), self.height, self.width, self.classes))
        return logits

    @override
    def exact(self) -> Forward:
        # A rule computes in the precision that it states.
        return lambda images: self.predict(images).astype(np.float64)

    @override
    def prepare(
        self, images: Array, *, plan: str, quantity: Literal["forward", "end_to_end"]
    ) -> Inference:
        require_images(images, self.height, self.width)
        require(plan, PLANS["numpy"])
        return NumpyInference(self._forward, images, quantity)

    @override
    def trainer(self, options: TrainingOptions) -> Trainer:
        raise Unsupported(f"a NumPy rule is not trained (asked for the loss {options.loss!r}).")

    @override
    def operations(self) -> tuple[Operation, ...]:
        raise Unsupported("NumPy rules are not counted.")

    @override
    def activations(self, images: Array) -> dict[str, Array]:
        # A rule has no layers but its answer.
        return {"logits": self.predict(images)}

    @override
    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        raise Unsupported(f"a NumPy rule has no gradients of {loss!r}.")


class NumpyBackend(Backend):
    """Plain NumPy on one core."""

    name = "numpy"
    title = "NumPy"
    capabilities = Capabilities(trains=False, plans=PLANS["numpy"], counts_operations=False)

    @override
    def __init__(self, runtime: Runtime) -> None:
        """NumPy has no settings of its own; it computes on the processor in any case."""

    @override
    def build(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> Network:
        require_size(height, width)
        forward = builder(classes=classes, height=height, width=width)
        return NumpyNetwork(forward, classes=classes, height=height, width=width)

    @override
    def versions(self) -> dict[str, str]:
        return {"numpy": np.__version__}

    @override
    def memory(self) -> dict[str, Bytes]:
        unknown = Bytes(bytes=None, reason="NumPy does not count its arrays")
        return {"allocated_peak_bytes": unknown, "reserved_peak_bytes": unknown}
