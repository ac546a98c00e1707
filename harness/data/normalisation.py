"""Intensity normalisation by name.

`per_slice` needs nothing but the slice at hand, as a scanner would. So does `per_body`, which does
not depend on how much air the field of view holds. `per_pixel_std` is what the
paper's published code did: mean and standard deviation of each pixel over the whole array. It
looks at all slices of the test set at once, which no scanner can, and is offered for comparison.
"""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

Normalisation = Literal["per_slice", "per_body", "per_pixel_std"]

# A row or column crosses the body if a share of its pixels is brighter than a share of the slice's
# bright pixels (98th percentile). With less of either than a few rows, all of the slice counts.
BODY_LEVEL, BODY_SHARE, LEAST_ROWS = 0.12, 0.05, 8


def per_slice(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, h, w) → zero mean and unit standard deviation of each slice; a constant slice → zeros."""
    centred = images - images.mean(axis=(1, 2), keepdims=True, dtype=np.float64).astype(np.float32)
    std = centred.std(axis=(1, 2), keepdims=True, dtype=np.float64)
    # Rounding leaves a constant slice with a tiny spread; it must not be blown up to one.
    floor = 1e-6 * np.abs(images).max(axis=(1, 2), keepdims=True, initial=0.0)
    flat = std <= floor
    return np.where(flat, 0.0, centred / np.where(flat, 1.0, std)).astype(np.float32)


def per_body(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, h, w) → as `per_slice`, by mean and deviation of the box around the body alone."""
    changed = np.empty_like(images)
    for index, image in enumerate(images):
        inside = image[_body(image)]
        mean, std = inside.mean(dtype=np.float64), inside.std(dtype=np.float64)
        flat = std <= 1e-6 * np.abs(inside).max()
        changed[index] = 0.0 if flat else (image - mean) / std
    return changed


def _body(image: NDArray[np.float32]) -> tuple[slice, slice]:
    bright = image > BODY_LEVEL * np.percentile(image, 98)
    box = []
    for across in (1, 0):
        found = np.flatnonzero(bright.mean(axis=across) > BODY_SHARE)
        if len(found) < LEAST_ROWS:
            return slice(None), slice(None)
        box.append(slice(int(found[0]), int(found[-1]) + 1))
    return box[0], box[1]


def per_pixel_std(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n, h, w) → each pixel less its mean over the array, by its standard deviation there.

    Done in place, slice by slice in double precision: it needs the whole training array, of which
    copies would not fit into memory.
    """
    largest = max(float(images.max(initial=0.0)), -float(images.min(initial=0.0)), 1e-30)
    mean = images.mean(axis=0, dtype=np.float64)
    squares = np.zeros_like(mean)
    for image in images:
        squares += (image - mean) ** 2
    std = np.sqrt(squares / max(len(images), 1))
    flat = std <= 1e-6 * largest
    scale = np.where(flat, 0.0, 1.0 / np.where(flat, 1.0, std))
    for image in images:
        image[:] = (image - mean) * scale
    return images


def normalise(images: NDArray[np.float32], name: Normalisation) -> NDArray[np.float32]:
    """Normalise (n, h, w) float32 by name; `images` may be overwritten.

    Raises `UsageError` for an unknown name.
    """
    if name == "per_slice":
        return per_slice(images)
    if name == "per_body":
        return per_body(images)
    if name == "per_pixel_std":
        return per_pixel_std(images)
    known = ", ".join(get_args(Normalisation))
    raise UsageError(f"normalisation {name!r} is unknown: use one of {known}.")


def warning(name: Normalisation) -> str | None:
    """What must be said beside results that were made with this normalisation, if anything."""
    if name == "per_pixel_std":
        return (
            "normalisation per_pixel_std uses statistics of the whole test set, as the paper's "
            "code did; a scanner that sees one slice at a time cannot."
        )
    return None
