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


def organs(unit: Images, masks: Masks, rng: np.random.Generator) -> Images:
    """What lies around the head as a few smooth regions with sharp edges, as large organs are.

    The regions follow the slice's own shapes, so a trunk stays a trunk; the grey level of each is
    random, so fluid is not always bright. The phantom's own surroundings are busier than real ones,
    and a network that learns so takes every smooth region for brain.
    """
    changed = unit.copy()
    for index, image in enumerate(unit):
        soft = ndimage.gaussian_filter(image, rng.uniform(1.0, 3.5), truncate=2.5)
        count = int(rng.integers(3, 9))
        edges = np.quantile(soft, np.sort(rng.uniform(0.2, 1, count - 1)))
        level = rng.uniform(0.02, 1.0, count).astype(np.float32)
        drawn = level[np.digitize(soft, edges)] + np.float32(rng.uniform(-0.5, 0.5)) * soft
        drawn *= _grain(image.shape, rng)
        share = np.float32(rng.uniform(0.5, 1.0))
        where = (image > 0.04) & ~_near(masks[index], int(rng.integers(2, 10)))
        mixed = image + share * (drawn - image)
        changed[index][where] = np.clip(mixed[where], 0, 1)
    return changed


def decoys(unit: Images, masks: Masks, rng: np.random.Generator) -> Images:
    """One to three round things of a head's size beside the brain: fluid pockets, trunks, bowel."""
    _, height, width = unit.shape
    y, x = np.mgrid[:height, :width].astype(np.float32)
    changed = unit.copy()
    for index in range(len(unit)):
        free = ~_near(masks[index], int(rng.integers(1, 6)))
        for _ in range(int(rng.integers(1, 4))):
            radius = rng.uniform(0.04, 0.2) * min(height, width)
            middle = rng.uniform(0, 1, 2) * (height, width)
            inside, depth = _blob(y - middle[0], x - middle[1], radius, rng)
            fill = _filling(unit, masks, rng)
            rim = rng.uniform(0, 0.12) * radius + rng.uniform(0, 1.5)
            fill = np.where(depth < rim, np.float32(rng.uniform(0, 1)), fill)
            where = inside & free
            changed[index][where] = fill[where]
    return changed


def _blob(
    down: NDArray[np.float32],
    right: NDArray[np.float32],
    radius: float,
    rng: np.random.Generator,
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """An ellipse with a wavy edge around (0, 0): its pixels, and their depth below the edge."""
    turn = rng.uniform(0, np.pi)
    cos, sin = np.float32(np.cos(turn)), np.float32(np.sin(turn))
    long, short = radius * rng.uniform(1, 1.8), radius
    along, across = (cos * down + sin * right) / long, (cos * right - sin * down) / short
    angle = np.arctan2(across, along)
    reach = np.ones_like(angle)
    for waves in (2, 3, 5):
        reach += np.float32(rng.normal(0, 0.25 / waves)) * np.cos(
            waves * angle + np.float32(rng.uniform(0, 2 * np.pi))
        )
    depth = (reach - np.hypot(along, across)) * radius
    return depth > 0, depth.astype(np.float32)


def _filling(unit: Images, masks: Masks, rng: np.random.Generator) -> NDArray[np.float32]:
    """What a decoy is filled with: smooth, of random regions, or of a slice without brain."""
    shape, kind = (unit.shape[1], unit.shape[2]), rng.random()
    others = np.flatnonzero(~masks.any(axis=(1, 2)))
    if kind < 0.5:
        slope = _field(*shape, 2, rng) * np.float32(rng.uniform(0, 0.12))
        return np.clip((rng.uniform(0.1, 1) + slope) * _grain(shape, rng), 0, 1)
    if kind < 0.75 or not len(others):
        return patches((1, *shape), rng)[0]
    soft = ndimage.gaussian_filter(unit[rng.choice(others)], rng.uniform(0, 2), truncate=2.5)
    return np.clip(soft * np.float32(rng.uniform(0.6, 1.4)), 0, 1)


def _grain(shape: tuple[int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """A texture around 1, fine and faint."""
    return 1 + np.float32(rng.uniform(0, 0.15)) * _field(*shape, int(rng.integers(16, 64)), rng)


def without_brain(unit: Images, masks: Masks, rng: np.random.Generator) -> tuple[Images, Masks]:
    """The brain covered: a slice that holds something there, smooth or of patches, but no brain."""
    drawn = np.stack([_filling(unit, masks, rng) for _ in unit])
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
