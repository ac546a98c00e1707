"""Brings slices of any size to the network's grid, and predictions back to the original one.

`crop_pad` keeps the pixels and cuts or pads with zeros around the centre; its way back is exact
except for what was cut. `resize` keeps the field of view and changes the pixels. `resample` makes
pixels of a stated size in mm, the same for every stack, and then cuts or pads around the centre.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from harness.errors import UsageError

FitMode = Literal["crop_pad", "resize", "resample"]
# Pixels of the network's grid in pixels of the slice, down and across (`resample` only).
Step = tuple[float, float]
SAME: Step = (1.0, 1.0)


def step_of(mode: FitMode, spacing_mm: tuple[float, float], pixel_mm: float | None) -> Step:
    """A network's pixel in pixels of a slice. Raises `UsageError` without `pixel_mm`."""
    if _checked(mode) != "resample":
        return SAME
    if not pixel_mm or pixel_mm <= 0:
        raise UsageError('fit = "resample" needs pixel_mm, the size of a pixel in mm.')
    return pixel_mm / spacing_mm[0], pixel_mm / spacing_mm[1]


def fit(
    images: NDArray[np.float32], height: int, width: int, mode: FitMode, step: Step = SAME
) -> NDArray[np.float32]:
    """(n, h, w) images → (n, height, width) float32; what is scaled is linear and antialiased."""
    images = np.asarray(images, dtype=np.float32)
    if _is_same(images, height, width, mode, step):
        return images
    if mode == "crop_pad":
        return _crop_pad(images, height, width)
    return _linear(images, height, width, mode, step)


def fit_masks(
    masks: NDArray[np.uint8], height: int, width: int, mode: FitMode, step: Step = SAME
) -> NDArray[np.uint8]:
    """(n, h, w) masks of 0/1 → (n, height, width); a scaled pixel is brain from a half on."""
    masks = np.asarray(masks, dtype=np.uint8)
    if _is_same(masks, height, width, mode, step):
        return masks
    if mode == "crop_pad":
        return _crop_pad(masks, height, width)
    share = _linear(masks.astype(np.float32), height, width, mode, step)
    return (share >= 0.5).astype(np.uint8)


def unfit(
    predictions: NDArray[Any], height: int, width: int, mode: FitMode, step: Step = SAME
) -> NDArray[Any]:
    """Map predicted (n, h, w) masks or probabilities back to the original height and width.

    Integer and boolean masks go back by the nearest pixel, probabilities linearly; with `crop_pad`
    both go back unchanged. What the network did not see is 0. `step` is that of the way there.
    """
    if _is_same(predictions, height, width, mode, step):
        return predictions
    if mode == "crop_pad":
        return _crop_pad(predictions, height, width)
    back = (1 / step[0], 1 / step[1])
    if np.issubdtype(predictions.dtype, np.floating):
        return _linear(predictions.astype(np.float32), height, width, mode, back)
    if mode == "resize":
        rows = _nearest(predictions.shape[1], height)
        columns = _nearest(predictions.shape[2], width)
        return predictions[:, rows[:, None], columns[None, :]]
    rows, seen_rows = _nearest_within(predictions.shape[1], height, back[0])
    columns, seen_columns = _nearest_within(predictions.shape[2], width, back[1])
    found = predictions[:, rows[:, None], columns[None, :]]
    return found * (seen_rows[:, None] & seen_columns[None, :]).astype(found.dtype)


def visible(side: int, window: int, mode: FitMode, step: float = 1.0) -> NDArray[np.bool_]:
    """Which of a slice's rows (or columns) the network's grid of `window` pixels covers."""
    if _checked(mode) == "resize":
        return np.ones(side, dtype=np.bool_)
    if mode == "crop_pad":
        seen = np.zeros(side, dtype=np.bool_)
        seen[_overlap(side, window)[0]] = True
        return seen
    return _nearest_within(window, side, 1 / step)[1]


def _is_same(array: NDArray[Any], height: int, width: int, mode: FitMode, step: Step) -> bool:
    checked = _checked(mode)
    return array.shape[1:] == (height, width) and (checked != "resample" or step == SAME)


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


def _places(old: int, new: int, step: float) -> NDArray[np.float64]:
    """Where new pixels lie among the old ones, centre on centre."""
    return (np.arange(new, dtype=np.float64) - (new - 1) / 2) * step + (old - 1) / 2


def _nearest_within(old: int, new: int, step: float) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """The old pixel under each new one, and whether there is one."""
    nearest = np.floor(_places(old, new, step) + 0.5).astype(np.int64)
    inside = (nearest >= 0) & (nearest < old)
    return np.clip(nearest, 0, old - 1), inside


@lru_cache(maxsize=64)
def _weights(old: int, new: int, step: float) -> NDArray[np.float32]:
    """(new, old) weights of a triangle filter, as wide as a new pixel where that is larger.

    New pixels outside the old ones get none.
    """
    places = _places(old, new, step)
    distance = np.abs(places[:, None] - np.arange(old)[None, :])
    weights = np.clip(1.0 - distance / max(step, 1.0), 0.0, None)
    inside = (places >= -0.5) & (places <= old - 0.5)
    total = weights.sum(axis=1, keepdims=True)
    scaled = np.divide(weights, total, out=np.zeros_like(weights), where=total > 0)
    return (scaled * inside[:, None]).astype(np.float32)


def _linear(
    images: NDArray[np.float32], height: int, width: int, mode: FitMode, step: Step
) -> NDArray[np.float32]:
    if mode == "resize":
        return resampled(images, height, width)
    return _weighted(images, height, width, step)


def resampled(images: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """(n, h, w) → (n, height, width), linear, antialiased where pixels become larger."""
    return _weighted(images, height, width, (images.shape[1] / height, images.shape[2] / width))


def _weighted(
    images: NDArray[np.float32], height: int, width: int, step: Step
) -> NDArray[np.float32]:
    rows = _weights(images.shape[1], height, step[0])
    columns = _weights(images.shape[2], width, step[1])
    return np.matmul(np.matmul(rows, images), columns.T)
