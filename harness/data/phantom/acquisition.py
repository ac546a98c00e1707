"""From a scene to a stack: slice positions, partial volume, coils, motion between slices, noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial.transform import Rotation

from harness.data.phantom.canvas import Plane
from harness.data.phantom.degradation import Strengths, degrade, wrapped_rows
from harness.data.phantom.scene import Motion, Scene
from harness.data.phantom.shapes import Field, length

# Thin planes of one slice: place in units of the thickness, and weight of the excitation there.
PROFILE = ((-0.33, 0.28), (0.0, 0.44), (0.33, 0.28))


@dataclass(frozen=True, kw_only=True)
class StackGeometry:
    """Where a stack lies, in scene (RAS) mm; `origin` is pixel (0, 0) of slice 0."""

    origin: NDArray[np.float64]
    row_step: NDArray[np.float64]
    column_step: NDArray[np.float64]
    slice_step: NDArray[np.float64]
    slices: int
    matrix: int
    thickness_mm: float

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4) from (column, row, slice) indices to RAS mm."""
        affine = np.eye(4)
        affine[:3] = np.stack(
            [self.column_step, self.row_step, self.slice_step, self.origin], axis=1
        )
        return affine

    def plane(self, index: int, extra_rows: int) -> Plane:
        """The middle plane of one slice, with rows more at both ends."""
        origin = self.origin + index * self.slice_step - extra_rows * self.row_step
        height = self.matrix + 2 * extra_rows
        return Plane(origin, self.row_step, self.column_step, height, self.matrix)


@dataclass(frozen=True, kw_only=True)
class Receiver:
    """Coil sensitivity, noise and air of one examination."""

    coils_mm: NDArray[np.float64]
    reach_mm: float
    noise: float
    air_removed: bool

    @classmethod
    def draw(cls, scene: Scene, rng: np.random.Generator) -> Receiver:
        """Coils on a ring around the mother; many scanners cut the air's noise off."""
        mother = scene.mother
        angles = np.linspace(0, 2 * np.pi, 8, endpoint=False) + rng.uniform(0, 1)
        ring = 1.15 + 0.1 * rng.random(8)
        coils = np.stack(
            [
                ring * mother.half_width_mm * np.cos(angles),
                ring * mother.half_depth_mm * np.sin(angles) + mother.centre_y_mm,
                rng.uniform(-110, 110, 8),
            ],
            axis=1,
        )
        return cls(
            coils_mm=coils,
            reach_mm=float(rng.uniform(110, 260)),
            noise=float(rng.uniform(5.0, 14.0)),
            air_removed=bool(rng.random() < 0.6),
        )

    def sensitivity(self, plane: Plane) -> Field:
        """Sum of squares over the coils, 1 in the middle of the ring, (height, width)."""
        # The field is smooth: every eighth pixel is enough.
        rows = np.arange(0, plane.height + 8, 8)
        columns = np.arange(0, plane.width + 8, 8)
        places = (
            plane.origin
            + rows[:, None, None] * plane.row_step
            + columns[None, :, None] * plane.column_step
        )
        coarse = self._combined(places)
        grid = np.meshgrid(np.arange(plane.height) / 8, np.arange(plane.width) / 8, indexing="ij")
        fine = ndimage.map_coordinates(coarse, np.stack(grid), order=1)
        return (fine / self._combined(np.zeros((1, 1, 3)))).astype(np.float32)

    def _combined(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        total = np.zeros(places.shape[:-1])
        for coil in self.coils_mm:
            distance2 = ((places - coil) ** 2).sum(axis=-1)
            total += 1 / (1 + distance2 / self.reach_mm**2) ** 2
        return np.sqrt(total)


def draw_geometry(
    scene: Scene,
    rng: np.random.Generator,
    *,
    direction: int,
    slices: int,
    matrix: int,
    spacing_mm: float,
    thickness_mm: float,
    distance_mm: float | None,
    off_end: float,
    coverage: float = 1.3,
) -> StackGeometry:
    """Place a stack over the fetal brain.

    `direction` 0, 1, 2 cuts across the x, y, z axis of the head (sagittal, coronal, axial) with
    the operator's 10° of error, 3 takes the mother's own axes, 4 any oblique direction.
    `distance_mm` between slices, or None to spread them over `coverage` times the brain; `off_end`
    shifts the stack towards an end of the brain by that share of its radius.
    """
    axes = _draw_axes(scene, rng, direction)
    normal = axes[2]
    local = (scene.head_frame.axes * normal).sum(axis=1)
    extent = 2 * float(np.sqrt(((np.array(scene.head.radii_mm) * local) ** 2).sum()))
    distance = distance_mm or coverage * extent / slices
    middle = scene.head_frame.origin + normal * (
        rng.normal(0, 0.06) * extent + off_end * rng.choice([-0.5, 0.5]) * extent
    )
    # The field of view is centred between head and uterus, never quite on the head.
    in_plane = rng.uniform(0.15, 0.75) * scene.head_frame.origin
    centre = in_plane + rng.normal(0, 10.0, 3)
    centre = centre + normal * ((middle - centre) * normal).sum()
    row_step, column_step = axes[1] * spacing_mm, axes[0] * spacing_mm
    half = (matrix - 1) / 2
    slice_step = normal * distance
    origin = centre - half * (row_step + column_step) - (slices - 1) / 2 * slice_step
    return StackGeometry(
        origin=origin,
        row_step=row_step,
        column_step=column_step,
        slice_step=slice_step,
        slices=slices,
        matrix=matrix,
        thickness_mm=thickness_mm,
    )


def _draw_axes(scene: Scene, rng: np.random.Generator, direction: int) -> NDArray[np.float64]:
    """Column, row and slice directions as rows of a right-handed basis."""
    if direction < 3:
        error = Rotation.from_rotvec(rng.normal(0, np.deg2rad(10), 3)).as_matrix()
        normal = (error * scene.head_frame.axes[direction]).sum(axis=1)
    elif direction == 3:
        normal = np.eye(3)[rng.integers(0, 3)] + rng.normal(0, 0.05, 3)
    else:
        normal = rng.standard_normal(3)
    normal = normal / length(normal)
    # Rows run down the mother's longest direction in the plane, as operators turn the field.
    down = -np.eye(3)[2] if abs(normal[2]) < 0.8 else -np.eye(3)[1]
    down = down - normal * (down * normal).sum()
    down = down / length(down)
    column = np.cross(down, normal)
    return np.stack([column, down, normal])


def draw_motion(slices: int, rng: np.random.Generator, *, restlessness: float) -> list[Motion]:
    """The fetus' position at each slice: small drift, and jumps; slices are taken interleaved."""
    order = [*range(0, slices, 2), *range(1, slices, 2)]
    turn, shift = np.zeros(3), np.zeros(3)
    positions: dict[int, Motion] = {}
    for index in order:
        jump = 6.0 if rng.random() < 0.06 * restlessness else 1.0
        turn = 0.9 * turn + jump * rng.normal(0, np.deg2rad(0.5) * restlessness, 3)
        shift = 0.9 * shift + jump * rng.normal(0, 0.25 * restlessness, 3)
        positions[index] = Motion(Rotation.from_rotvec(turn).as_matrix(), shift.copy())
    return [positions[index] for index in range(slices)]


def acquire(
    scene: Scene,
    geometry: StackGeometry,
    receiver: Receiver,
    motions: list[Motion],
    strengths: list[Strengths],
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Images (slices, matrix, matrix) float32 and masks uint8 of one stack."""
    shape = (geometry.slices, geometry.matrix, geometry.matrix)
    images = np.empty(shape, dtype=np.float32)
    masks = np.empty(shape, dtype=np.uint8)
    for index in range(geometry.slices):
        extra = wrapped_rows(strengths[index], geometry.matrix)
        plane = geometry.plane(index, extra)
        signal, brain = _excite(scene, plane, geometry, motions[index])
        signal *= receiver.sensitivity(plane)
        harmed = degrade(signal, strengths[index], extra, plane.pixel_mm, rng)
        images[index] = _receive(harmed, receiver, strengths[index], rng)
        masks[index] = brain[extra : extra + geometry.matrix] >= 0.5
    return images, masks


def _excite(
    scene: Scene, plane: Plane, geometry: StackGeometry, motion: Motion
) -> tuple[Field, Field]:
    """Average of thin planes over the slice's profile (through-plane partial volume)."""
    normal = geometry.slice_step / length(geometry.slice_step)
    edge_mm = float(np.hypot(plane.pixel_mm, 0.5 * geometry.thickness_mm))
    surroundings = scene.render_surroundings(plane, edge_mm)
    signal = np.zeros((plane.height, plane.width), dtype=np.float32)
    brain = np.zeros_like(signal)
    for place, weight in PROFILE:
        thin = plane.shifted(place * geometry.thickness_mm * normal)
        thin_signal, thin_brain = scene.render(thin, surroundings, motion)
        signal += np.float32(weight) * thin_signal
        brain += np.float32(weight) * thin_brain
    # T2 decay along the echo train blurs the phase-encoding direction (the rows).
    return ndimage.gaussian_filter1d(signal, 0.55, axis=0), brain


def _receive(
    image: Field, receiver: Receiver, strengths: Strengths, rng: np.random.Generator
) -> Field:
    """Magnitude of signal plus complex noise: Rician, and air as the scanner shows it."""
    sigma = np.float32(receiver.noise * (1 + 9 * strengths.noise))
    real = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(image.shape, dtype=np.float32)
    magnitude = np.sqrt(real * real + imaginary * imaginary)
    if receiver.air_removed:
        magnitude *= np.clip(magnitude / (3.5 * sigma) - 0.35, 0, 1)
    return magnitude
