"""A network at work: slices and stacks of any size in, masks on their own grid out.

    segmenter = Segmenter()                            # the package's RFBSNet
    for image in scanner:                              # (rows, columns), any real numbers
        mask = segmenter.slice(image, spacing_mm=(1.0, 1.0)).mask

The frameworks are imported when a `Segmenter` is made, and never before.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from backends import plans
from backends.contract import Array, Inference, Runtime
from backends.errors import MissingFramework
from backends.weights import digest, read_weights
from harness import cores, registry
from harness.data.fitting import fit, step_of, unfit
from harness.data.normalisation import normalise
from harness.deploy import judging, pretrained
from harness.errors import UsageError
from harness.protocol import Input, load_protocol

PREFERRED_BACKENDS = ("torch", "flax", "keras")
BEST = "best"
# Runtimes that beat a framework's own plan, the fastest first, and the modules that they need.
RUNTIMES = {"openvino": ("openvino", "onnx", "onnxscript")}
# From so many slices on a runtime's export and compilation should pay; an estimate.
SLICES_THAT_PAY = 2000
# All networks take multiples of this, and a grid of so many pixels holds any field of view.
GRAIN, LARGEST_GRID = 64, 256


@dataclass(frozen=True, kw_only=True)
class SegmentedSlice:
    """One slice: its mask (rows, columns) uint8 of 0 and 1 on its own grid, and how sure it is.

    `confidence` is `judging.confidence`; `milliseconds` run from the slice to its mask.
    """

    mask: NDArray[np.uint8]
    confidence: float
    milliseconds: float


@dataclass(frozen=True, kw_only=True)
class SegmentedStack:
    """A stack: masks (slices, rows, columns) uint8, and per slice what `SegmentedSlice` says.

    `look` names the reasons why a slice should be looked at (`judging.reasons`).
    """

    masks: NDArray[np.uint8]
    confidence: NDArray[np.float64]
    milliseconds: NDArray[np.float64]
    look: list[list[str]]


class Segmenter:
    """Loads a network once and segments what it is given, slice by slice.

    `network` is a name of the registry; `weights` a file of `fetalbench train`, by default the
    package's own. `protocol` says what the weights of a file were trained to see (fit, pixel size,
    normalisation). `backend` is by default the first of PyTorch, JAX and TensorFlow that is
    installed. `plan` is one of the backend's, or `best`: its default, and if `slices` says that
    thousands are coming and OpenVINO is installed, that. `threads` 0 takes every usable core.

    Raises `UsageError`, `WeightsError`, `MissingFramework`, `BackendError`, each one sentence.
    """

    def __init__(
        self,
        network: str = "rfbsnet",
        *,
        weights: Path | None = None,
        protocol: str = "sim_to_real",
        backend: str = "",
        plan: str = BEST,
        device: Literal["cpu", "cuda"] = "cpu",
        threads: int = 0,
        slices: int = 0,
    ) -> None:
        entry = registry.network(network)
        self.network = entry.name
        own = pretrained.load(entry.name) if weights is None else None
        self.backend = _backend(entry, backend)
        self._framework = registry.load_backend(self.backend)(
            Runtime(device=device, threads=threads or cores.count())
        )
        self.input: Input = own.input if own else load_protocol(protocol).input
        if own:
            self._weights, self.source, self.sha256 = own.weights, own.source, own.sha256
        else:
            assert weights is not None
            built = self._build(self.input.height, self.input.width)
            self._weights = dict(read_weights(weights, built.weight_specs()))
            self.source, self.sha256 = weights.name, digest(self._weights)
        offered = self._framework.capabilities.plans
        if plan == BEST:
            plan = _fastest(self.backend, device, slices) or plans.default(offered, device).key
        self.plan = plans.require(plan, offered, device).key
        self._queries: dict[tuple[int, int], Inference] = {}

    def slice(self, image: ArrayLike, spacing_mm: tuple[float, float]) -> SegmentedSlice:
        """Segment one slice (rows, columns), whose pixels are so far apart down and across.

        Raises `UsageError` for another shape, or values that are not finite.
        """
        start = time.perf_counter()
        pixels = _checked(image, spacing_mm)
        rows, columns = pixels.shape
        chosen, grid = self.input, self.grid(rows, columns, spacing_mm)
        step = step_of(chosen.fit, spacing_mm, chosen.pixel_mm)
        fitted = fit(pixels[None], *grid, chosen.fit, step)
        logits = self._logits(normalise(fitted.copy(), chosen.normalisation)[..., None])
        brain = _brain(logits)
        own = unfit(brain, rows, columns, chosen.fit, step)[0]
        return SegmentedSlice(
            mask=(own > 0.5).astype(np.uint8),
            confidence=judging.confidence(brain[0]),
            milliseconds=1000 * (time.perf_counter() - start),
        )

    def stack(
        self,
        images: NDArray[Any],
        spacing_mm: tuple[float, float],
        *,
        largest_component: bool = False,
    ) -> SegmentedStack:
        """Segment a stack (slices, rows, columns); on wish only the largest piece in 3-D is kept.

        The first slice of a size is segmented twice: its time is not that of the start.
        """
        if len(images):
            self.slice(images[0], spacing_mm)
        found = [self.slice(image, spacing_mm) for image in images]
        masks = np.stack([one.mask for one in found])
        sureness = np.array([one.confidence for one in found])
        look = judging.reasons(masks, sureness)
        return SegmentedStack(
            masks=judging.largest_component(masks) if largest_component else masks,
            confidence=sureness,
            milliseconds=np.array([one.milliseconds for one in found]),
            look=look,
        )

    def stream(
        self, slices: Iterable[ArrayLike], spacing_mm: tuple[float, float]
    ) -> Iterator[NDArray[np.uint8]]:
        """The mask of each slice as it comes: `for mask in segmenter.stream(scanner, (1, 1))`."""
        for image in slices:
            yield self.slice(image, spacing_mm).mask

    def grid(self, rows: int, columns: int, spacing_mm: tuple[float, float]) -> tuple[int, int]:
        """The network's height and width for slices of a size.

        With pixels of a stated size the grid grows with the field of view, so that a brain near
        its edge is not cut off; else it is what the weights were trained at.
        """
        chosen = self.input
        if chosen.fit != "resample" or chosen.pixel_mm is None:
            return chosen.height, chosen.width
        height, width = (
            min(max(least, GRAIN * ceil(count * mm / chosen.pixel_mm / GRAIN)), LARGEST_GRID)
            for count, mm, least in zip(
                (rows, columns), spacing_mm, (chosen.height, chosen.width), strict=True
            )
        )
        return height, width

    def compilations(self) -> int:
        """Compilations or traces so far; none is added by a slice of a size that was seen."""
        return sum(query.compilations() for query in self._queries.values())

    def _logits(self, images: Array) -> Array:
        """Logits (1, height, width, classes) of one prepared slice (1, height, width, 1)."""
        size = images.shape[1:3]
        if size not in self._queries:
            network = self._build(*size)
            network.set_weights(self._weights)
            self._queries[size] = network.prepare(images, plan=self.plan, quantity="forward")
        query = self._queries[size]
        query.set_images(images)
        result = query.launch()
        query.synchronise(result)
        return query.logits(result)

    def _build(self, height: int, width: int) -> Any:
        classes = self.input.classes
        return registry.build(
            self._framework, self.network, height=height, width=width, classes=classes
        )


def _backend(entry: registry.NetworkEntry, wanted: str) -> str:
    """The backend to use. Raises `UsageError`, `MissingFramework`."""
    if wanted:
        name = registry.backend(wanted)
        registry.require_implementation(entry, name)
        return name
    for name in PREFERRED_BACKENDS:
        if entry.implements(name) and not registry.missing_modules(name):
            return name
    raise MissingFramework(
        "segmenting needs PyTorch, JAX or TensorFlow, and none is installed: "
        "pip install 'fetalbench[torch]'."
    )


def _fastest(backend: str, device: str, slices: int) -> str | None:
    """The runtime that many slices are worth, if it is installed."""
    if backend != "torch" or device != "cpu" or slices < SLICES_THAT_PAY:
        return None
    return next((key for key, needs in RUNTIMES.items() if not registry.missing(needs)), None)


def _checked(image: ArrayLike, spacing_mm: tuple[float, float]) -> NDArray[np.float32]:
    pixels = np.asarray(image, dtype=np.float32)
    if pixels.ndim != 2 or min(pixels.shape) < 2:
        raise UsageError(f"a slice has the shape (rows, columns), not {pixels.shape}.")
    if not np.isfinite(pixels).all():
        raise UsageError("a slice holds NaN or infinite values; replace them.")
    if not all(0 < mm < np.inf for mm in spacing_mm):
        raise UsageError(f"spacing_mm {spacing_mm}: expected millimetres, down and across.")
    return pixels


def _brain(logits: Array) -> NDArray[np.float32]:
    """The probability of brain (n, h, w) of logits (n, h, w, classes)."""
    margin = logits[..., 1:2] - np.delete(logits, 1, axis=-1)
    # 1 / (1 + Σ exp(−margin)): the softmax of the brain class.
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-margin).sum(axis=-1))).astype(np.float32)
