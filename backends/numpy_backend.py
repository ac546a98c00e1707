"""NumPy: for rules that are no networks. Nothing to train, no weights, nothing asynchronous."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from backends.contract import (
    Array,
    Backend,
    Bytes,
    Capabilities,
    Inference,
    Network,
    Operation,
    Plan,
    Runtime,
    Trainer,
    TrainingOptions,
    Weights,
    WeightSpec,
)
from backends.errors import Unsupported, require_images
from backends.weights import check_weights

Forward = Callable[[Array], Array]


class NumpyInference(Inference):
    """A call of the function; it returns when it is done."""

    def __init__(self, forward: Forward, images: Array, quantity: str) -> None:
        self._forward = forward
        self._images = images
        self._masks = quantity == "end_to_end"

    def set_images(self, images: Array) -> None:
        """Take other images for the coming queries."""
        self._images = images

    def launch(self) -> Array:
        """Logits, or masks for `end_to_end`."""
        logits = self._forward(self._images)
        return logits.argmax(axis=3).astype(np.uint8) if self._masks else logits

    def synchronise(self, result: Any) -> None:
        """NumPy has finished when it returns."""

    def logits(self, result: Any) -> Array:
        """The result itself."""
        return result

    def compilations(self) -> int:
        """NumPy compiles nothing."""
        return 0


class NumpyNetwork(Network):
    """A function on arrays behind the contract of a network."""

    def __init__(self, forward: Forward, *, classes: int, height: int, width: int) -> None:
        self._forward = forward
        self.classes, self.height, self.width = classes, height, width

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """There are none."""
        return ()

    def weights(self) -> dict[str, Array]:
        """There are none."""
        return {}

    def set_weights(self, weights: Weights) -> None:
        """Raise `WeightsError` for any weight."""
        check_weights(weights, ())

    def predict(self, images: Array) -> Array:
        """Logits of (n, h, w, 1) float32 images. Raises `SizeError`."""
        require_images(images, self.height, self.width)
        return self._forward(images)

    def exact(self) -> Forward:
        """The function itself: a rule computes in the precision that it states."""
        return lambda images: self.predict(images).astype(np.float64)

    def prepare(
        self, images: Array, *, plan: str, quantity: Literal["forward", "end_to_end"]
    ) -> Inference:
        """A query; `plan` has one value only."""
        require_images(images, self.height, self.width)
        if plan != "call":
            raise Unsupported(f"NumPy has no plan {plan!r}, it has 'call'.")
        return NumpyInference(self._forward, images, quantity)

    def trainer(self, options: TrainingOptions) -> Trainer:
        """Raises `Unsupported`."""
        raise Unsupported(f"a NumPy rule is not trained (asked for the loss {options.loss!r}).")

    def operations(self) -> tuple[Operation, ...]:
        """Raises `Unsupported`: array functions are not counted."""
        raise Unsupported("NumPy rules are not counted.")

    def activations(self, images: Array) -> dict[str, Array]:
        """A rule has no layers but its answer."""
        return {"logits": self.predict(images)}

    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        """Raises `Unsupported`."""
        raise Unsupported(f"a NumPy rule has no gradients of {loss!r}.")


class NumpyBackend(Backend):
    """Plain NumPy on one core."""

    name = "numpy"
    title = "NumPy"
    extra = None
    capabilities = Capabilities(
        trains=False,
        asynchronous=False,
        devices=("cpu",),
        plans=(Plan(key="call", title="function call", devices=("cpu", "cuda")),),
        counts_operations=False,
    )

    def __init__(self, runtime: Runtime) -> None:
        """NumPy has no settings of its own; it computes on the processor in any case."""

    def build(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> Network:
        """The function that `builder` returns, behind the contract."""
        forward = builder(classes=classes, height=height, width=width)
        return NumpyNetwork(forward, classes=classes, height=height, width=width)

    def versions(self) -> dict[str, str]:
        """NumPy's version."""
        return {"numpy": np.__version__}

    def device_title(self) -> str:
        """The processor."""
        return "processor"

    def memory(self) -> dict[str, Bytes]:
        """Unknown, with the reason."""
        unknown = Bytes(bytes=None, reason="NumPy does not count its arrays")
        return {"allocated_peak_bytes": unknown, "reserved_peak_bytes": unknown}
