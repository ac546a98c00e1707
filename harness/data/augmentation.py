"""Seeded augmentation of prepared slices, one call an epoch over the whole training array.

All slices of a chunk are warped in one gather and changed in a few array operations: a loop over
slices would cost more than the training step of a small network.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import fft

from harness.data import randomisation
from harness.data.augmentation_levels import Strengths, strengths_of
from harness.data.fitting import resampled
from harness.data.normalisation import per_slice

# Slices warped at once: bounds the memory of the gather (about 30 bytes a pixel).
CHUNK = 16


def augment(
    images: NDArray[np.float32],
    masks: NDArray[np.uint8],
    *,
    level: str,
    seed: int,
    epoch: int,
    strengths: Mapping[str, float] | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Augmented copies of prepared slices; the same seed and epoch give the same bytes.

    `images` is (n, h, w, 1) float32 normalised per slice, `masks` (n, h, w) uint8; the returned
    arrays have the same shapes, and the images are normalised per slice again. Levels: `none`
    returns the arrays themselves; `basic` = flips, quarter turns, small rotations, zoom, shift,
    gamma, bias and noise; `strong` = further of each, plus random contrast (intensities remapped
    by random curves, including inversion) and motion between k-space segments; `domain` = all that
    `Strengths` names, for training on a phantom what real slices will be asked of (domain
    randomisation as in SynthSeg, Billot et al. 2023, doi:10.1016/j.media.2023.102789).
    `strengths` replaces some of the level's. Raises `UsageError` for an unknown level or name.
    """
    if level == "none":
        return images, masks
    chosen = strengths_of(level, strengths or {})
    new_images = np.empty_like(images)
    new_masks = np.empty_like(masks)
    for start in range(0, len(images), CHUNK):
        part = slice(start, start + CHUNK)
        rng = np.random.default_rng([seed, epoch, start])
        warped, warped_masks = _warp(images[part, ..., 0], masks[part], chosen, rng)
        changed, new_masks[part] = _change_intensities(warped, warped_masks, chosen, rng)
        new_images[part, ..., 0] = changed
    return new_images, new_masks


def _warp(
    images: NDArray[np.float32],
    masks: NDArray[np.uint8],
    strengths: Strengths,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    n, height, width = images.shape
    matrices, shifts = _draw_transforms(n, height, width, strengths, rng)
    y = np.arange(height, dtype=np.float32) - (height - 1) / 2
    x = np.arange(width, dtype=np.float32) - (width - 1) / 2
    m = matrices.astype(np.float32)[:, :, :, None, None]
    s = shifts.astype(np.float32)[:, :, None, None]
    source_y = m[:, 0, 0] * y[:, None] + m[:, 0, 1] * x[None, :] + s[:, 0] + (height - 1) / 2
    source_x = m[:, 1, 0] * y[:, None] + m[:, 1, 1] * x[None, :] + s[:, 1] + (width - 1) / 2
    if strengths.elastic:
        reach = np.float32(strengths.elastic * max(height, width))
        coarse = reach * rng.standard_normal((2 * n, 6, 6), dtype=np.float32)
        drawn = resampled(coarse, height, width)
        source_y += drawn[:n]
        source_x += drawn[n:]
    return _sample(images, masks, source_y, source_x)


def _draw_transforms(
    n: int, height: int, width: int, strengths: Strengths, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n, 2, 2) matrices from output to input offsets and (n, 2) shifts in pixels."""
    angle = np.deg2rad(rng.uniform(-strengths.rotation_deg, strengths.rotation_deg, n))
    # A quarter turn of a slice that is not square would cut its ends off.
    quarter = rng.integers(0, 4, n) if height == width else 2 * rng.integers(0, 2, n)
    angle += quarter * (np.pi / 2)
    zoom = np.exp(rng.uniform(-1, 1, n) * np.log1p(strengths.zoom))
    flip = rng.choice([-1.0, 1.0], n)
    cos, sin = np.cos(angle) / zoom, np.sin(angle) / zoom
    matrices = np.stack([np.stack([cos, -sin * flip], 1), np.stack([sin, cos * flip], 1)], 1)
    shifts = rng.uniform(-1, 1, (n, 2)) * strengths.shift * np.array([height, width])
    return matrices, shifts


def _sample(
    images: NDArray[np.float32],
    masks: NDArray[np.uint8],
    source_y: NDArray[np.float32],
    source_x: NDArray[np.float32],
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Images linearly, masks by the nearest pixel; outside lies the slice's own minimum."""
    n, height, width = images.shape
    outside = images.min(axis=(1, 2), keepdims=True)
    # One padded border pixel holds what lies outside, so no index has to be tested.
    padded = np.empty((n, height + 2, width + 2), dtype=np.float32)
    padded[:] = outside
    padded[:, 1:-1, 1:-1] = images
    padded_masks = np.zeros(padded.shape, dtype=np.uint8)
    padded_masks[:, 1:-1, 1:-1] = masks
    y = np.clip(source_y + 1, 0, height + 0.999)
    x = np.clip(source_x + 1, 0, width + 0.999)
    y0, x0 = y.astype(np.int32), x.astype(np.int32)
    fy, fx = y - y0, x - x0
    row = width + 2
    base = np.arange(n, dtype=np.int32)[:, None, None] * ((height + 2) * row)
    corner = base + y0 * row + x0
    flat = padded.ravel()
    top = flat.take(corner) * (1 - fx) + flat.take(corner + 1) * fx
    bottom = flat.take(corner + row) * (1 - fx) + flat.take(corner + row + 1) * fx
    nearest = corner + (fy >= 0.5) * row + (fx >= 0.5)
    return top * (1 - fy) + bottom * fy, padded_masks.ravel().take(nearest)


def _change_intensities(
    images: NDArray[np.float32],
    masks: NDArray[np.uint8],
    strengths: Strengths,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    images = _some(images, rng, strengths.motion, _move)
    low = images.min(axis=(1, 2), keepdims=True)
    span = np.maximum(images.max(axis=(1, 2), keepdims=True) - low, 1e-6)
    unit = (images - low) / span
    unit = _some(unit, rng, strengths.remap, randomisation.curves)
    unit, masks = _randomise(unit, masks, strengths, rng)
    column = (len(images), 1, 1)
    gamma = np.exp(rng.uniform(-1, 1, column) * strengths.gamma).astype(np.float32)
    unit = np.power(unit, gamma) * _bias_fields(unit.shape, strengths.bias, rng)
    unit = _some(unit, rng, strengths.resolution, randomisation.coarser)
    unit = _some(unit, rng, strengths.blur, randomisation.blurred)
    level = rng.uniform(0, strengths.noise, column).astype(np.float32)
    unit += level * rng.standard_normal(unit.shape, dtype=np.float32)
    return per_slice(unit), masks


def _randomise(
    unit: NDArray[np.float32],
    masks: NDArray[np.uint8],
    strengths: Strengths,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """What has to know where the brain is."""
    masks = masks.copy()
    for share, change in (
        (strengths.contrast, randomisation.contrast),
        (strengths.structures, randomisation.surroundings),
        (strengths.organs, randomisation.organs),
        (strengths.decoys, randomisation.decoys),
    ):
        chosen = _chosen(len(unit), share, rng)
        if chosen.any():
            unit[chosen] = change(unit[chosen], masks[chosen], rng)
    for share, change in (
        (strengths.vanish, randomisation.without_brain),
        (strengths.frame, randomisation.framed),
    ):
        chosen = _chosen(len(unit), share, rng)
        if chosen.any():
            unit[chosen], masks[chosen] = change(unit[chosen], masks[chosen], rng)
    return unit, masks


def _chosen(count: int, share: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    # Without a draw where nothing may be chosen: the random numbers of a level stay its own.
    return rng.random(count) < share if share else np.zeros(count, dtype=bool)


def _some(
    images: NDArray[np.float32],
    rng: np.random.Generator,
    share: float,
    change: Callable[[NDArray[np.float32], np.random.Generator], NDArray[np.float32]],
) -> NDArray[np.float32]:
    chosen = _chosen(len(images), share, rng)
    if chosen.any():
        images = images.copy()
        images[chosen] = change(images[chosen], rng)
    return images


def _bias_fields(
    shape: tuple[int, ...], strength: float, rng: np.random.Generator
) -> NDArray[np.float32]:
    """exp of a random quadratic over the slice, (n, h, w)."""
    n, height, width = shape
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :]
    c = (rng.uniform(-1, 1, (5, n, 1, 1)) * strength).astype(np.float32)
    return np.exp(c[0] * y + c[1] * x + 0.5 * (c[2] * y * y + c[3] * x * x + c[4] * x * y))


def _move(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """The slice shifts between segments of its k-space lines: ghosts and blur along them."""
    n, height, width = images.shape
    lines = fft.fftfreq(height)[None, :, None]
    columns = fft.fftfreq(width)[None, None, :]
    segments = 4
    boundaries = np.abs(fft.fftfreq(height)) * 2 * segments
    segment = np.clip(boundaries.astype(int), 0, segments - 1)
    shift = rng.normal(0, 1.5, (n, segments, 2))
    shift[:, 0] = 0.0  # the centre of k-space says where the head, and so the mask, is
    phase = lines * shift[:, segment, 0][:, :, None] + columns * shift[:, segment, 1][:, :, None]
    moved = fft.ifft2(np.asarray(fft.fft2(images)) * np.exp(-2j * np.pi * phase))
    return np.real(np.asarray(moved)).astype(np.float32)
