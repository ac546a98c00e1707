"""Implicit shapes: signed distances in mm, negative inside, on broadcastable float32 coordinates.

Distances of ellipsoids and ellipses are first-order (value over gradient), which is exact at the
surface; that is where a partial-volume edge is drawn.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Field = NDArray[np.floating[Any]]
Points = tuple[Field, Field, Field]


def length(vector: NDArray[np.float64]) -> float:
    """Euclidean length. BLAS, and so `np.linalg.norm`, rounds differently from CPU to CPU."""
    return math.sqrt(float((vector * vector).sum()))


def ellipsoid(points: Points, centre: tuple[float, ...], radii: tuple[float, ...]) -> Field:
    """Distance to an axis-aligned ellipsoid; radii in mm."""
    value = np.float32(0.0)
    slope = np.float32(0.0)
    for axis, middle, radius in zip(points, centre, radii, strict=True):
        scaled = (axis - np.float32(middle)) / np.float32(radius)
        value = value + scaled * scaled
        scaled = scaled / np.float32(radius)
        slope = slope + scaled * scaled
    root = np.sqrt(value)
    return root * (root - 1) / np.maximum(np.sqrt(slope), np.float32(1e-6))


def ellipse(x: Field, y: Field, a: float | Field, b: float | Field) -> Field:
    """Distance to a cylinder with elliptical section of semi-axes a and b around the origin."""
    u, v = x / a, y / b
    root = np.sqrt(u * u + v * v)
    slope = np.sqrt((u / a) ** 2 + (v / b) ** 2)
    return root * (root - 1) / np.maximum(slope, np.float32(1e-6))


def capsule(
    points: Points,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
    end_radius: float | None = None,
) -> Field:
    """Distance to a rod with round ends, tapering from `radius` to `end_radius`."""
    axis = (np.asarray(end) - np.asarray(start)).astype(np.float32)
    length2 = max(float((axis * axis).sum(dtype=np.float64)), 1e-6)
    relative = [p - np.float32(s) for p, s in zip(points, start, strict=True)]
    along = sum(r * a for r, a in zip(relative, axis, strict=True)) / np.float32(length2)
    along = np.clip(along, 0, 1)
    gap2 = sum((r - along * a) ** 2 for r, a in zip(relative, axis, strict=True))
    taper = (radius if end_radius is None else end_radius) - radius
    return np.sqrt(gap2) - (np.float32(radius) + np.float32(taper) * along)


def smooth_union(first: Field, second: Field, reach: float) -> Field:
    """The nearer of two shapes, blended over `reach` mm (polynomial smooth minimum)."""
    mix = np.maximum(reach - np.abs(first - second), 0) / np.float32(reach)
    return np.minimum(first, second) - mix * mix * np.float32(reach / 4)


def smooth_intersection(first: Field, second: Field, reach: float) -> Field:
    """What lies in both shapes, blended over `reach` mm."""
    return -smooth_union(-first, -second, reach)


def coverage(distance: Field, edge_mm: float) -> Field:
    """Share of a pixel that lies inside, 0–1, for a pixel `edge_mm` wide."""
    return np.clip(np.float32(0.5) - distance / np.float32(edge_mm), 0, 1)


@dataclass(frozen=True)
class Waves:
    """A smooth random field of unit variance: a sum of plane waves of about one wavelength."""

    vectors: NDArray[np.float32]
    phases: NDArray[np.float32]

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelength_mm: float, count: int = 5) -> Waves:
        """Random directions and phases, wavelengths within a factor of 1.4."""
        directions = rng.standard_normal((count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        numbers = 2 * np.pi / wavelength_mm * rng.uniform(0.7, 1.4, (count, 1))
        phases = rng.uniform(0, 2 * np.pi, count)
        return cls((directions * numbers).astype(np.float32), phases.astype(np.float32))

    def __call__(self, points: Points) -> Field:
        x, y, z = points
        total: Any = np.float32(0.0)
        for (kx, ky, kz), phase in zip(self.vectors, self.phases, strict=True):
            total = total + np.sin(kx * x + ky * y + kz * z + phase)
        return total * np.float32(np.sqrt(2 / len(self.phases)))


@dataclass(frozen=True)
class Warp:
    """A smooth random displacement, so that no two subjects have the same shape."""

    fields: tuple[Waves, Waves, Waves]
    amplitude_mm: float

    @classmethod
    def draw(cls, rng: np.random.Generator, amplitude_mm: float, wavelength_mm: float) -> Warp:
        """Displacements of about `amplitude_mm` along each axis."""
        x, y, z = (Waves.draw(rng, wavelength_mm, 4) for _ in range(3))
        return cls((x, y, z), float(amplitude_mm))

    def __call__(self, points: Points) -> Points:
        x, y, z = (
            place + np.float32(self.amplitude_mm) * field(points)
            for place, field in zip(points, self.fields, strict=True)
        )
        return x, y, z


# One lattice serves all textures, each from another place and at another scale. It repeats after
# about ten wavelengths, farther than the eye compares.
LATTICE = 96
SAMPLES_PER_WAVELENGTH = 9
# Steps below this are lost in the pixels, so the nearest sample will do.
FINE_MM = 1.4


@lru_cache(maxsize=1)
def _lattice() -> NDArray[np.float32]:
    white = np.random.default_rng(20).standard_normal((LATTICE,) * 3, dtype=np.float32)
    smooth = ndimage.gaussian_filter(white, SAMPLES_PER_WAVELENGTH / 4, mode="wrap")
    return smooth / smooth.std()


@dataclass(frozen=True)
class Mottle:
    """A cloudy random field of unit variance without direction, for the texture of tissues."""

    samples_per_mm: float
    offset: tuple[float, float, float]

    @classmethod
    def draw(cls, rng: np.random.Generator, wavelength_mm: float) -> Mottle:
        """Bright and dark spots lie about one wavelength apart."""
        x, y, z = rng.uniform(1000, 1000 + LATTICE, 3).tolist()
        return cls(SAMPLES_PER_WAVELENGTH / wavelength_mm, (x, y, z))

    def __call__(self, points: Points) -> Field:
        scale = np.float32(self.samples_per_mm)
        places = [p * scale + np.float32(o) for p, o in zip(points, self.offset, strict=True)]
        if self.samples_per_mm * FINE_MM < 1:
            return ndimage.map_coordinates(_lattice(), np.stack(places), order=1, mode="grid-wrap")
        # The offset keeps places positive, so truncation is rounding down.
        x, y, z = (place.astype(np.int32) % LATTICE for place in places)
        return _lattice().ravel().take((x * LATTICE + y) * LATTICE + z)


# Levels of each of the two fields whose cells are the patches.
PATCH_LEVELS = 8


@dataclass(frozen=True)
class Patches:
    """Regions with sharp edges and a signal of their own: loops of bowel, fat and muscle, vessels.

    The cells where each of two cloudy fields lies between two levels; neighbours share an edge as
    organs do. `table` holds a factor of about 1 for each cell.
    """

    first: Mottle
    second: Mottle
    table: NDArray[np.float32]

    @classmethod
    def draw(
        cls, rng: np.random.Generator, wavelength_mm: float, spread: float, dark: float = 0.12
    ) -> Patches:
        """Log-normal factors of that spread; a share `dark` of the cells is like gas or flow."""
        table = np.exp(spread * rng.standard_normal((PATCH_LEVELS, PATCH_LEVELS)))
        table[rng.random(table.shape) < dark] *= 0.25
        first, second = Mottle.draw(rng, wavelength_mm), Mottle.draw(rng, 0.6 * wavelength_mm)
        return cls(first, second, np.clip(table, 0.05, 3.0).astype(np.float32))

    def __call__(self, points: Points) -> Field:
        row, column = (
            np.clip(field(points) * 1.6 + PATCH_LEVELS / 2, 0, PATCH_LEVELS - 1).astype(np.int32)
            for field in (self.first, self.second)
        )
        return self.table[row, column]
