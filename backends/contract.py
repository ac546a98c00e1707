"""The contract between the experiment and a framework: all that `harness` knows of one.

Arrays cross this border as NumPy, images as (n, height, width, 1) float32, masks as
(n, height, width) uint8, logits as (n, height, width, classes) float32. A backend is used by one
process only, and a process imports one framework only.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np

from backends.errors import Unsupported
from backends.plans import Plan

Array = np.ndarray
Weights = Mapping[str, Array]


@dataclass(frozen=True, kw_only=True)
class Capabilities:
    """What a backend can do, declared and never probed."""

    trains: bool
    plans: tuple[Plan, ...]
    counts_operations: bool = True


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """Settings of a process, applied once and before the first network is built."""

    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 0  # 0: as many as the framework takes by itself
    deterministic: bool = True


@dataclass(frozen=True, kw_only=True)
class WeightSpec:
    """One weight in canonical form (see `backends.weights` for names and layouts).

    `native` weights have the framework's own name, shape and dtype: so do all of a network with a
    layer that has no canonical form. No other framework can load them.
    """

    name: str
    shape: tuple[int, ...]
    trainable: bool
    native: bool = False
    dtype: str = "float32"


OperationKind = Literal[
    "conv",
    "conv_transpose",
    "batch_norm",
    "add",
    "multiply",
    "max_pool",
    "average_pool",
    "global_mean",
    "max_unpool",
    "prelu",
    "relu",
    "sigmoid",
    "resize",
    "concatenate",
    "shuffle",
    "matmul",
    "elementwise",
    "normalise",
    "softmax",
    "reduce",
    "unknown",
]


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation of the inference graph at batch size 1, as the backend ran or traced it.

    Sizes are (height, width, channels). `kernel` is that of a convolution or pooling window and
    `groups` that of a convolution; both keep their defaults for everything else. `add` and
    `multiply` take two tensors: the sum of three is two operations. `elementwise` is any other
    operation with one result per output element. A tensor that is not an image has the size
    (rest, last but one, last); `matmul` is (batch, m, k) · (batch, k, n). `normalise` computes
    means and variances from its input. `unknown` has no count, and the name of what it computes.
    """

    name: str
    kind: OperationKind
    input_size: tuple[int, int, int]
    output_size: tuple[int, int, int]
    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    groups: int = 1
    bias: bool = False


@dataclass(frozen=True, kw_only=True)
class Bytes:
    """A quantity of memory: a whole number of bytes, or None with the reason why it is unknown."""

    bytes: int | None
    reason: str | None = None


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """What a training step computes; the schedule is the experiment's business.

    Losses, on softmax probabilities p of the brain class (1) and masks g of 0 and 1, sums over the
    whole batch: `dice` = 1 − (2·Σpg + 1) / (Σp + Σg + 1); `dice_ce` = `dice` + the mean over pixels
    of −g·log p − (1 − g)·log(1 − p). That is brain against all the rest even if a network has
    more than two classes: a mask does not say which of the others a pixel is.
    Optimizer: Adam, m̂ / (√v̂ + epsilon) with bias-corrected m̂ and v̂, β = (0.9, 0.999).
    Precision: what convolutions and products compute in. Weights, their updates, losses and the
    statistics of batch normalisation are float32 in each. `tf32` changes nothing on a CPU.
    """

    loss: Literal["dice", "dice_ce"]
    seed: int
    batch_size: int
    adam_epsilon: float = 1e-7
    dropout: bool = True
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"


class Trainer(ABC):
    """A network being trained on arrays that stay in memory (on the device if they fit)."""

    @abstractmethod
    def set_data(self, images: Array, masks: Array) -> None:
        """Take (n, h, w, 1) float32 images and (n, h, w) uint8 masks as the data of later steps.

        Raises `SizeError`.
        """

    @abstractmethod
    def start_epoch(self, epoch: int) -> None:
        """Derive all randomness (dropout) of the coming steps from (options.seed, epoch) alone.

        With `state` this makes resuming at an epoch's start exact to the bit on a CPU.
        """

    def place(self, batches: Array) -> Sequence[Any]:
        """Bring the rows of an epoch's steps, (steps, batch_size) int64, to the device at once.

        Each item of the result is what `step` takes: no step then waits for a transfer.
        """
        return list(batches)

    @abstractmethod
    def step(self, indices: Any, learning_rate: float) -> None:
        """Do one update on rows `indices`, without waiting for its loss or for the device.

        They are (batch_size,) int64 on the host, or an item of what `place` gave.
        """

    @abstractmethod
    def losses(self) -> Array:
        """Wait, then return the float32 losses of all steps since the last call, in order."""

    @abstractmethod
    def state(self) -> dict[str, Array]:
        """Optimizer state as arrays: `step` () int64, `m/<weight>` and `v/<weight>` canonical."""

    @abstractmethod
    def set_state(self, state: Weights) -> None:
        """Load what `state` returned. Raises `WeightsError` for a wrong name or shape."""


class Inference(ABC):
    """One network, one plan, one batch of images: what is timed, and what is evaluated."""

    @abstractmethod
    def set_images(self, images: Array) -> None:
        """Take other images of the same shape for the coming queries; never timed.

        Compiles nothing, and returns when a `forward` query finds them on the device. Without it
        every query would see the same images, and a backend that remembers answers would win.
        Raises `SizeError` for another shape.
        """

    @abstractmethod
    def launch(self) -> Any:
        """Start one query; may return before the device has finished."""

    @abstractmethod
    def synchronise(self, result: Any) -> None:
        """Return when the device has finished all work, `result` included."""

    @abstractmethod
    def logits(self, result: Any) -> Array:
        """(n, h, w, classes) float32 logits of a `forward` query on the host."""

    @abstractmethod
    def compilations(self) -> int:
        """Number of compilations or traces so far; must not change in a timed region."""


class Network(ABC):
    """A network built in one framework for one input size."""

    classes: int
    height: int
    width: int

    @abstractmethod
    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """All weights in canonical form, in the order of the layers."""

    @abstractmethod
    def weights(self) -> dict[str, Array]:
        """Copies of all weights by canonical name, float32."""

    @abstractmethod
    def set_weights(self, weights: Weights) -> None:
        """Load canonical weights. Raises `WeightsError` naming the first difference."""

    def own_start(self, seed: int) -> dict[str, Array]:
        """The starting values that the network's own constructor draws from this seed.

        For networks with `native` weights; the harness draws those of all others. Raises
        `Unsupported`.
        """
        raise Unsupported(f"{type(self).__name__} draws no starting values ({seed}) of its own.")

    def unseen_weights(self) -> list[str]:
        """Names of tensors that the logits depend on, want a gradient and no optimiser sees."""
        return []

    def write_native(self, path: Path) -> None:
        """Write the weights in a form that users of the framework expect; the suffix chooses it.

        Raises `Unsupported` if there is none, `WeightsError` for another suffix.
        """
        raise Unsupported(f"{path.name}: this backend has no form of its own for weights.")

    def read_native(self, path: Path) -> None:
        """Load what `write_native` wrote. Raises `WeightsError`, `Unsupported`."""
        raise Unsupported(f"{path.name}: this backend has no form of its own for weights.")

    @abstractmethod
    def predict(self, images: Array) -> Array:
        """Logits of (n, h, w, 1) images in inference mode, any n ≥ 1. Raises `SizeError`."""

    @abstractmethod
    def exact(self) -> Callable[[Array], Array]:
        """A function from (n, h, w, 1) float32 images to float64 logits, computed in float64.

        It is the network with its present weights, all but free of rounding: a mask from it is the
        same in every framework, whereas float32 leaves a pixel near a tie to chance. For scoring;
        what is timed runs in the precision of its plan.
        """

    def exact_step(
        self, images: Array, masks: Array, options: TrainingOptions, learning_rate: float
    ) -> dict[str, Array]:
        """The first training step on (n, h, w, 1) images and (n, h, w) masks, in float64.

        By the trainer's own step, on a copy of the network; n is `options.batch_size`. Returns
        `loss/loss` (1,), `gradient/<weight>` of every trainable weight and `weight/<weight>` of all
        weights after the step, running values included: canonical, float64. Free of rounding, two
        frameworks that compute the same step give the same values, which float32 hides.

        Raises `SizeError`, and `Unsupported` if the backend does not train.
        """
        raise Unsupported(
            f"this backend takes no step of {options.loss!r} in float64 ({len(images)} images, "
            f"{len(masks)} masks, rate {learning_rate})."
        )

    @abstractmethod
    def prepare(
        self, images: Array, *, plan: str, quantity: Literal["forward", "end_to_end"]
    ) -> Inference:
        """Make a query ready (compiled ahead if the plan compiles).

        `forward` starts from images on the device and ends with logits there; `end_to_end` starts
        from `images` on the host and its result is the (n, h, w) uint8 masks on the host. Prepare
        again after a change of weights: some plans keep those that they were prepared with.

        Raises `SizeError`, `BackendError` for an unknown plan, and `Unsupported` for one that does
        not run on this device.
        """

    def release(self) -> None:  # noqa: B027
        """Free what queries that are gone have left on the device: compiled code, pooled memory.

        Called between measurements, when no query is in use.
        """

    def calibrate(self, images: Array) -> None:  # noqa: B027
        """Take the (n, h, w, 1) images on which plans in int8 find the ranges of activations.

        Used by the next `prepare`; without them a plan takes the images that it is prepared with. A
        backend without such plans needs none.
        """

    @abstractmethod
    def trainer(self, options: TrainingOptions) -> Trainer:
        """A trainer that updates this network's weights in place."""

    def recalibrate(self, images: Array, batch_size: int) -> None:
        """Set every running mean and variance to its plain mean over batches of `images`.

        With momentum 0.99 the running values of a deep network trail its weights by hundreds of
        steps; short trainings end before they have caught up. Each batch of `batch_size` images is
        normalised by its own mean and biased variance, dropout is off, an incomplete last batch is
        left out. A network without running values is left as it is. Raises `SizeError`, and
        `Unsupported` if the backend does not offer it.
        """
        raise Unsupported(
            f"{type(self).__name__} does not recalibrate batch normalisation ({batch_size} of "
            f"{len(images)} images at a time): set training.batch_norm to 'running'."
        )

    @abstractmethod
    def operations(self) -> tuple[Operation, ...]:
        """Operations of one inference in order, at this height and width; no final softmax."""

    def export(self, path: Path, metadata: Mapping[str, str]) -> None:
        """Write the network and its weights in its deployment format, properties included.

        Raises `Unsupported` if the backend has no such format.
        """
        raise Unsupported(f"this backend cannot export {path.suffix or path.name}: use torch.")

    def run_exported(self, path: Path, images: Array) -> dict[str, Array]:
        """Logits of (n, h, w, 1) images by the exported file alone, by title of the runtime.

        Raises `Unsupported` if no runtime for it is installed.
        """
        raise Unsupported(f"no runtime for {path.suffix or path.name} is installed.")

    @abstractmethod
    def activations(self, images: Array) -> dict[str, Array]:
        """Outputs of layers with weights in order, NHWC float32 on the host, inference mode."""

    @abstractmethod
    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        """Gradient of the loss in every trainable weight, canonical, training mode, no dropout.

        Running values stay as they were. Raises `SizeError`.
        """


class Backend(ABC):
    """One framework."""

    name: ClassVar[str]
    title: ClassVar[str]
    capabilities: ClassVar[Capabilities]

    @abstractmethod
    def __init__(self, runtime: Runtime) -> None:
        """Apply the process-wide settings.

        Raises `Unsupported` or `MissingFramework` if the framework does not see the device.
        """

    @abstractmethod
    def build(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> Network:
        """Build a network from its `build(classes=, height=, width=)`. Raises `SizeError`."""

    @abstractmethod
    def versions(self) -> dict[str, str]:
        """Versions of the framework and of what it computes with."""

    @abstractmethod
    def memory(self) -> dict[str, Bytes]:
        """`allocated_peak_bytes` and `reserved_peak_bytes` of the device so far."""

    def forget_memory_peaks(self) -> bool:
        """Restart the peaks of `memory` from what is live; False if the framework cannot."""
        return False

    def multiply(self, left: Array, right: Array, *, plan: str, repeats: int = 1) -> Array:
        """left · right^repeats of square float32 matrices, one product after the other.

        Runs on the device in the precision of the plan, never simplified. From it the harness
        learns what the device can do and whether "float32" is TF32. Raises as `prepare` does.
        """
        raise Unsupported(f"Backend {self.name!r} offers no matrix product to probe {plan!r} with.")

    def product_seconds(self, size: int, *, plan: str, products: int) -> float:
        """Seconds of `products` products of size × size matrices on the device, one after another.

        In the precision of the plan, on random values that lie on the device, never simplified;
        timed by the device, or by the host from an idle device to an idle one. Transfers and
        compilation are not in it. Raises as `prepare` does.
        """
        raise Unsupported(f"Backend {self.name!r} offers no products of {size} to time {plan!r}.")
