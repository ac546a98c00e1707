"""Domain randomisation: what a slice from another scanner and another mother may look like.

Each function changes a batch of unit images (n, h, w) float32 in 0–1, some with their masks
(n, h, w) uint8, and draws from the generator given. After SynthSeg (Billot et al., Med Image Anal
2023; 86:102789) and SynthMorph's random shapes (Hoffmann et al., IEEE TMI 2022; 41:543–58).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harness.data.fitting import resampled

Images = NDArray[np.float32]
Masks = NDArray[np.uint8]

# Cells that a pair of random fields is cut into, along each.
LEVELS = 8


def curves(unit: Images, rng: np.random.Generator) -> Images:
    """Intensities through a random piecewise linear curve that keeps air at 0."""
    knots = np.linspace(0.0, 1.0, 7)
    changed = np.empty_like(unit)
    for index, image in enumerate(unit):
        values = np.concatenate([[0.0], rng.uniform(0.05, 1.0, len(knots) - 1)])
        changed[index] = np.interp(image, knots, values)
    return changed


def contrast(unit: Images, masks: Masks, rng: np.random.Generator) -> Images:
    """Inside and outside of the brain through curves of their own, mixed with what was there."""
    inside, outside = curves(unit, rng), curves(unit, rng)
    share = rng.uniform(0, 1, (len(unit), 1, 1)).astype(np.float32)
    soft = ndimage.uniform_filter(masks.astype(np.float32), (0, 3, 3))
    drawn = outside + soft * (inside - outside)
    return (unit + share * (drawn - unit)).astype(np.float32)


def patches(shape: tuple[int, int, int], rng: np.random.Generator) -> Images:
    """Regions with sharp edges, each of one grey level and a texture, (n, h, w) in 0–1."""
    n, height, width = shape
    drawn = np.empty(shape, dtype=np.float32)
    for index in range(n):
        first, second = (_field(height, width, int(rng.integers(3, 14)), rng) for _ in range(2))
        levels = np.clip(rng.normal(0.35, 0.25, (LEVELS, LEVELS)), 0.0, 1.0).astype(np.float32)
        cells = levels[_cut(first), _cut(second)]
        grain = _field(height, width, int(rng.integers(24, 64)), rng)
        drawn[index] = cells * (1 + np.float32(rng.uniform(0, 0.25)) * grain)
    return np.clip(drawn, 0, 1)


def surroundings(unit: Images, masks: Masks, rng: np.random.Generator) -> Images:
    """Random patches laid over parts of what lies around the head; a rim around it stays."""
    n, height, width = unit.shape
    drawn = patches(unit.shape, rng)
    changed = unit.copy()
    for index in range(n):
        rim = int(rng.integers(3, 16))
        near = _near(masks[index], rim)
        where = _field(height, width, int(rng.integers(2, 9)), rng) > rng.uniform(-0.8, 0.8)
        where &= ~near & ((unit[index] > 0.04) | (rng.random() < 0.3))
        see_through = np.float32(rng.uniform(0, 0.6))
        over = drawn[index] + see_through * (unit[index] - drawn[index])
        changed[index][where] = over[where]
    return changed


def without_brain(unit: Images, masks: Masks, rng: np.random.Generator) -> tuple[Images, Masks]:
    """The brain covered by random patches: a slice that holds something there, but no brain."""
    drawn = patches(unit.shape, rng)
    changed = unit.copy()
    for index in range(len(unit)):
        rim = int(rng.integers(0, 5))
        covered = _near(masks[index], rim) if rim else masks[index] > 0
        # A part that stays uncovered would be brain without a mask.
        changed[index][covered] = drawn[index][covered]
    return changed, np.zeros_like(masks)


def coarser(unit: Images, rng: np.random.Generator) -> Images:
    """Fewer pixels along one axis or both, up to two and a half times, and back again."""
    _, height, width = unit.shape
    changed = np.empty_like(unit)
    for index, image in enumerate(unit):
        down = rng.uniform(1.0, 2.5, 2) ** (rng.random(2) < 0.7)
        low = resampled(image[None], round(height / down[0]), round(width / down[1]))
        changed[index] = resampled(low, height, width)[0]
    return changed


def blurred(unit: Images, rng: np.random.Generator) -> Images:
    """Gaussian blur of up to 1.3 pixels, another one along each axis."""
    changed = np.empty_like(unit)
    for index, image in enumerate(unit):
        changed[index] = ndimage.gaussian_filter(image, rng.uniform(0, 1.3, 2), truncate=2.5)
    return changed


def framed(unit: Images, masks: Masks, rng: np.random.Generator) -> tuple[Images, Masks]:
    """A smaller field of view, or air: one to three sides of the slice are empty."""
    _, height, width = unit.shape
    changed, kept = unit.copy(), masks.copy()
    for index in range(len(unit)):
        top, bottom, left, right = (
            rng.uniform(0, 0.35, 4)
            * (rng.random(4) < 0.5)
            * np.array([height, height, width, width])
        ).astype(int)
        outside = np.ones((height, width), dtype=bool)
        outside[top : height - bottom, left : width - right] = False
        changed[index][outside] = 0.0
        kept[index][outside] = 0
    return changed, kept


def _field(height: int, width: int, cells: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """A smooth random field of about unit variance with that many cells a side."""
    coarse = rng.standard_normal((1, cells + 3, cells + 3), dtype=np.float32)
    return 1.4 * resampled(coarse, height, width)[0]


def _cut(field: NDArray[np.float32]) -> NDArray[np.int32]:
    return np.clip(field * 2 + LEVELS / 2, 0, LEVELS - 1).astype(np.int32)


def _near(mask: NDArray[np.uint8], pixels: int) -> NDArray[np.bool_]:
    reach = 2 * pixels + 1
    return ndimage.uniform_filter(mask.astype(np.float32), reach, mode="constant") > 1e-4
