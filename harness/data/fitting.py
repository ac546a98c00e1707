"""Brings slices of any size to the network's grid, and predictions back to the original one.

`crop_pad` keeps the pixels and cuts or pads with zeros around the centre; its way back is exact
except for what was cut. `resize` keeps the field of view and changes the pixels.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

FitMode = Literal["crop_pad", "resize"]


def fit(images: NDArray[np.float32], height: int, width: int, mode: FitMode) -> NDArray[np.float32]:
    """(n, h, w) images → (n, height, width) float32; `resize` is linear and antialiased."""
    images = np.asarray(images, dtype=np.float32)
    if images.shape[1:] == (height, width):
        return images
    if _checked(mode) == "crop_pad":
        return _crop_pad(images, height, width)
    return resampled(images, height, width)


def fit_masks(
    masks: NDArray[np.uint8], height: int, width: int, mode: FitMode
) -> NDArray[np.uint8]:
    """(n, h, w) masks of 0/1 → (n, height, width); a resized pixel is brain from a half on."""
    masks = np.asarray(masks, dtype=np.uint8)
    if masks.shape[1:] == (height, width):
        return masks
    if _checked(mode) == "crop_pad":
        return _crop_pad(masks, height, width)
    share = resampled(masks.astype(np.float32), height, width)
    return (share >= 0.5).astype(np.uint8)


def unfit(predictions: NDArray[Any], height: int, width: int, mode: FitMode) -> NDArray[Any]:
    """Map predicted (n, h, w) masks or probabilities back to the original height and width.

    Integer and boolean masks go back by the nearest pixel, probabilities linearly; with
    `crop_pad` both go back unchanged, and what the network did not see is 0.
    """
    if predictions.shape[1:] == (height, width):
        return predictions
    if _checked(mode) == "crop_pad":
        return _crop_pad(predictions, height, width)
    if np.issubdtype(predictions.dtype, np.floating):
        return resampled(predictions.astype(np.float32), height, width)
    rows = _nearest(predictions.shape[1], height)
    columns = _nearest(predictions.shape[2], width)
    return predictions[:, rows[:, None], columns[None, :]]


def _checked(mode: str) -> FitMode:
    if mode not in get_args(FitMode):
        raise UsageError(f"fit {mode!r} is unknown: use one of {', '.join(get_args(FitMode))}.")
    return mode  # type: ignore[return-value]


def _crop_pad(array: NDArray[Any], height: int, width: int) -> NDArray[Any]:
    fitted = np.zeros((array.shape[0], height, width), dtype=array.dtype)
    taken_rows, placed_rows = _overlap(array.shape[1], height)
    taken_columns, placed_columns = _overlap(array.shape[2], width)
    fitted[:, placed_rows, placed_columns] = array[:, taken_rows, taken_columns]
    return fitted


def _overlap(old: int, new: int) -> tuple[slice, slice]:
    # The same floor in both directions, so that cropping undoes padding and the reverse.
    margin = abs(old - new) // 2
    inner = slice(margin, margin + min(old, new))
    whole = slice(0, min(old, new))
    return (inner, whole) if old > new else (whole, inner)


def _nearest(old: int, new: int) -> NDArray[np.int64]:
    return ((2 * np.arange(new) + 1) * old) // (2 * new)


@lru_cache(maxsize=64)
def _linear_weights(old: int, new: int) -> NDArray[np.float32]:
    """(new, old) weights of a triangle filter, as wide as a new pixel where that is larger."""
    reach = max(old / new, 1.0)
    centres = (np.arange(new) + 0.5) * old / new - 0.5
    distance = np.abs(centres[:, None] - np.arange(old)[None, :])
    weights = np.clip(1.0 - distance / reach, 0.0, None)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def resampled(images: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """(n, h, w) → (n, height, width), linear, antialiased where pixels become larger."""
    rows = _linear_weights(images.shape[1], height)
    columns = _linear_weights(images.shape[2], width)
    return np.matmul(np.matmul(rows, images), columns.T)
