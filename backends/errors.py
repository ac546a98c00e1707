"""What a backend refuses, and how it says so: one sentence with the remedy."""

from __future__ import annotations

import re
from collections.abc import Iterable
from difflib import get_close_matches
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import numpy as np

# How alike two names must be for one to be proposed for the other, from 0 to 1.
ALIKE = 0.4


class BackendError(Exception):
    """A mistake that the user can fix; the text is one sentence with the remedy."""

    exit_code: ClassVar[int] = 2


class SizeError(BackendError):
    """Height, width or channel count that the network cannot take."""


class WeightsError(BackendError):
    """Weights whose names, shapes, dtypes or values are not those of the network."""

    exit_code = 3


class Unsupported(BackendError):
    """The backend declares that it cannot do this; becomes the status `unsupported`."""


class OutputError(BackendError):
    """What a network returns is not what can be scored; becomes the status `invalid`."""


class NoDevice(Unsupported):
    """The framework is here and does not see the device that was asked for."""


def require_device(framework: str, wanted: str, seen: bool, detail: str = "") -> None:
    """Raise `NoDevice` unless the framework sees the device: it must not fall back to another."""
    if not seen:
        raise NoDevice(
            f"{framework} sees no {wanted} device{f' ({detail})' if detail else ''}: choose the "
            "device cpu, or install the framework's CUDA build beside an NVIDIA GPU (make install)."
        )


class MissingFramework(BackendError):
    """The framework of a backend is not installed."""

    exit_code = 4


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown name: the nearest known one, else all of them."""
    plain = {plain_name(candidate): candidate for candidate in known}
    close = get_close_matches(plain_name(name), plain, n=1, cutoff=ALIKE)
    if close:
        return f"did you mean {plain[close[0]]!r}?"
    return f"known are {', '.join(plain.values())}."


def plain_name(name: str) -> str:
    """A name without what people write differently: case and punctuation."""
    return re.sub(r"[^a-z0-9]", "", name.lower())


# What allocators write, in lower case: the frameworks raise errors of unrelated classes.
_OUT_OF_MEMORY = (
    "out of memory",
    "resource_exhausted",
    "resource exhausted",
    "can't allocate memory",
    "cannot allocate memory",
    "failed to allocate",
    "bad_alloc",
    "bad allocation",
    "oom when allocating",
    # cuDNN's and cuBLAS's workspaces, asked for behind the framework's allocator.
    "status_alloc_failed",
    "cuda_error_out_of_memory",
)

# After these the CUDA context is lost: every later call in the process fails, with this error or
# another.
_STICKY = (
    "illegal memory access",
    "illegal_address",
    "device-side assert",
    "unspecified launch failure",
    "launch_failed",
    "misaligned address",
    "misaligned_address",
    "illegal instruction",
    "hardware stack error",
    "invalid program counter",
    "ecc error",
    "ecc_uncorrectable",
    "status_execution_failed",
    "status_mapping_error",
    "fell off the bus",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error of any framework says that memory ran out (host or device)."""
    if isinstance(error, MemoryError):
        return True
    text = f"{type(error).__name__} {error}".lower()
    return any(phrase in text for phrase in _OUT_OF_MEMORY)


def is_sticky(error: BaseException) -> bool:
    """Whether an error of any framework says that this process has lost the device for good."""
    text = f"{type(error).__name__} {error}".lower()
    return any(phrase in text for phrase in _STICKY)


def require_size(height: int, width: int, *, multiple: int = 64) -> None:
    """Raise `SizeError` unless both sides are positive multiples of `multiple`."""
    for axis, size in (("height", height), ("width", width)):
        if size < multiple or size % multiple:
            raise SizeError(
                f"{axis} {size} is not a multiple of {multiple}: choose "
                f"{max(multiple, round(size / multiple) * multiple)} in the protocol's [input]."
            )


def require_variance(values: int) -> None:
    """Raise `SizeError` unless a training batch gives a channel at least two values to normalise.

    One value has the variance 0, and its normalised value is 0 whatever the image.
    """
    if values < 2:
        raise SizeError(
            "batch normalisation over one image whose map is 1×1 has no variance: train with at "
            "least two images per batch (training.batch_size)."
        )


def require_images(images: np.ndarray, height: int, width: int) -> None:
    """Raise `SizeError` unless `images` is (n, height, width, 1) float32 with n ≥ 1."""
    if images.ndim != 4 or images.shape[0] < 1 or images.shape[1:3] != (height, width):
        raise SizeError(
            f"images have shape {images.shape}, expected (n, {height}, {width}, 1): "
            "fit them to the protocol's [input] first."
        )
    if images.shape[3] != 1:
        raise SizeError(
            f"images have {images.shape[3]} channels, expected 1: convert them to greyscale."
        )
    if images.dtype != "float32":
        raise SizeError(f"images are {images.dtype}, expected float32: cast them.")


def require_shape(images: np.ndarray, shape: tuple[int, ...]) -> None:
    """Raise `SizeError` unless `images` has the shape that a query was prepared for."""
    if images.shape != shape:
        raise SizeError(
            f"images have shape {images.shape}, this query was prepared for {shape}: prepare "
            "another."
        )


def logits_fault(logits: object, shape: tuple[int, int, int, int]) -> str | None:
    """Why these are not logits of that shape, (n, height, width, classes), or None."""
    import numpy as np

    if not isinstance(logits, np.ndarray):
        return f"the network returns {type(logits).__name__}, expected an array of logits."
    if logits.dtype.kind != "f":
        return f"the network returns {logits.dtype} values, expected floating-point logits."
    if logits.shape != shape:
        return (
            f"the network returns logits of shape {logits.shape}, expected (images, height, width, "
            f"classes) = {shape}."
        )
    if not (finite := np.isfinite(logits)).all():
        return (
            f"the network returns NaN or infinite logits, at {int((~finite).any(axis=3).sum())} "
            f"of {finite[..., 0].size} pixels."
        )
    return None


def require_logits(logits: object, shape: tuple[int, int, int, int]) -> None:
    """Raise `OutputError` unless these are finite logits of (n, height, width, classes)."""
    if fault := logits_fault(logits, shape):
        raise OutputError(fault)


def require_masks(masks: np.ndarray, images: np.ndarray) -> None:
    """Raise `SizeError` unless `masks` is uint8 and as many and as large as `images`."""
    if masks.shape != images.shape[:3] or masks.dtype != "uint8":
        raise SizeError(
            f"masks are {masks.dtype} of shape {masks.shape}, expected uint8 of shape "
            f"{images.shape[:3]}: give one mask per image."
        )
