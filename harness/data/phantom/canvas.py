"""One thin plane through the scene, painted back to front with partial-volume edges."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.shapes import Field, Points, coverage, length

Box = tuple[slice, slice]


@dataclass(frozen=True)
class Frame:
    """A place and a direction in the scene: `axes` holds the local x, y and z as rows."""

    origin: NDArray[np.float64]
    axes: NDArray[np.float64]

    def to_scene(self, local: NDArray[np.float64] | tuple[float, ...]) -> NDArray[np.float64]:
        """A point given in local mm, in scene mm."""
        return self.origin + (np.asarray(local, dtype=np.float64)[:, None] * self.axes).sum(axis=0)

    def to_local(self, point: NDArray[np.float64]) -> NDArray[np.float64]:
        """A point given in scene mm, in local mm."""
        return (self.axes * (point - self.origin)).sum(axis=1)

    def moved(
        self, pivot: NDArray[np.float64], turn: NDArray[np.float64], shift: NDArray[np.float64]
    ) -> Frame:
        """The frame after a rotation about `pivot` and a shift."""
        origin = pivot + shift + (turn * (self.origin - pivot)).sum(axis=1)
        axes = np.stack([(turn * axis).sum(axis=1) for axis in self.axes])
        return Frame(origin, axes)


@dataclass(frozen=True)
class Plane:
    """A pixel grid in scene mm: pixel (0, 0) at `origin`, steps to the next row and column."""

    origin: NDArray[np.float64]
    row_step: NDArray[np.float64]
    column_step: NDArray[np.float64]
    height: int
    width: int

    @cached_property
    def pixel_mm(self) -> float:
        """The side of a pixel."""
        return length(self.column_step)

    @cached_property
    def normal(self) -> NDArray[np.float64]:
        """The unit vector across the plane."""
        return np.cross(self.row_step, self.column_step) / self.pixel_mm**2

    def shifted(self, offset: NDArray[np.float64]) -> Plane:
        """The same grid moved by an offset in scene mm."""
        return Plane(self.origin + offset, self.row_step, self.column_step, self.height, self.width)


@dataclass
class Canvas:
    """Signal and brain coverage of one plane, both (height, width) float32.

    `edge_mm` is how wide a boundary is drawn: a pixel for a thin plane, more for a thick slice.
    """

    plane: Plane
    edge_mm: float
    signal: Field = field(init=False)
    brain: Field = field(init=False)

    def __post_init__(self) -> None:
        shape = (self.plane.height, self.plane.width)
        self.signal = np.zeros(shape, dtype=np.float32)
        self.brain = np.zeros(shape, dtype=np.float32)

    @property
    def whole(self) -> Box:
        """The box of all pixels."""
        return slice(0, self.plane.height), slice(0, self.plane.width)

    def box(self, centre: NDArray[np.float64], radius: float) -> Box | None:
        """The pixels within `radius` of a point, or None where the plane misses that ball."""
        plane = self.plane
        pixel = plane.pixel_mm
        offset = centre - plane.origin
        reach2 = (radius + pixel) ** 2 - _dot(offset, plane.normal) ** 2
        if reach2 <= 0:
            return None
        reach = math.sqrt(reach2) / pixel
        row = _dot(offset, plane.row_step) / pixel**2
        column = _dot(offset, plane.column_step) / pixel**2
        rows = slice(max(0, int(row - reach)), min(plane.height, int(row + reach) + 2))
        columns = slice(max(0, int(column - reach)), min(plane.width, int(column + reach) + 2))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        return rows, columns

    def points(self, box: Box, frame: Frame) -> Points:
        """Local coordinates in mm of the pixels of a box, three (rows, columns) float32 arrays."""
        rows = np.arange(box[0].start, box[0].stop)[:, None]
        columns = np.arange(box[1].start, box[1].stop)[None, :]
        start = frame.to_local(self.plane.origin)
        down = (frame.axes * self.plane.row_step).sum(axis=1)
        right = (frame.axes * self.plane.column_step).sum(axis=1)
        x, y, z = (
            (start[axis] + rows * down[axis]).astype(np.float32)
            + (columns * right[axis]).astype(np.float32)
            for axis in range(3)
        )
        return x, y, z

    def paint(self, box: Box, distance: Field, signal: float | Field) -> Field:
        """Lay a shape over what is there; returns its coverage of the box's pixels."""
        alpha = coverage(distance, self.edge_mm)
        self.blend(box, alpha, signal)
        return alpha

    def blend(self, box: Box, alpha: Field, signal: float | Field) -> None:
        """Mix a signal in by its share of each pixel."""
        there = self.signal[box]
        there += alpha * (signal - there)


def _dot(first: NDArray[np.float64], second: NDArray[np.float64]) -> float:
    # Three products in Python are several times faster than a call into NumPy.
    a, b, c = first.tolist()
    d, e, f = second.tolist()
    return a * d + b * e + c * f
