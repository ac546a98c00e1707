"""One subject: mother, uterus with placenta and fluid, fetus in a pose, and all tissue signals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from harness.data.phantom.atlas import LabelMap
from harness.data.phantom.canvas import Canvas, Frame, Plane
from harness.data.phantom.contrast import draw_signals
from harness.data.phantom.fetus import Body, Cord
from harness.data.phantom.growth import OLDEST_WEEKS, YOUNGEST_WEEKS, draw_size
from harness.data.phantom.head import Head
from harness.data.phantom.mother import Mother
from harness.data.phantom.shapes import (
    Field,
    Mottle,
    Patches,
    Points,
    Waves,
    coverage,
    ellipsoid,
    length,
    smooth_union,
)

MOTHER_FRAME = Frame(np.zeros(3), np.eye(3))


@dataclass(frozen=True)
class Motion:
    """Where the fetus has moved: rotation matrix about the head's middle, shift in mm."""

    turn: NDArray[np.float64]
    shift: NDArray[np.float64]


@dataclass(frozen=True)
class Scene:
    """All of one subject; `render` cuts it with a plane."""

    gestational_age_weeks: float
    signals: dict[str, float]
    mother: Mother
    head: Head
    head_frame: Frame
    body: Body
    body_frame: Frame
    cord: Cord
    uterus_radii_mm: NDArray[np.float64]
    wall_mm: float
    head_margin_mm: float
    placenta_side: NDArray[np.float64]
    placenta_mm: float
    placenta_reach_mm: float
    swirl: float
    lobules: Mottle
    cotyledons: Patches
    outline: Waves

    @classmethod
    def draw(cls, rng: np.random.Generator, brains: tuple[LabelMap, ...] = ()) -> Scene:
        """A random subject of 22–38 weeks, its brain computed or one of the label maps."""
        weeks = float(rng.uniform(YOUNGEST_WEEKS, OLDEST_WEEKS))
        size = draw_size(weeks, rng)
        head, body = Head.draw(size, rng, brains), Body.draw(size, rng)
        head_frame, body_frame = _draw_pose(head, body, rng)
        growth = 0.80 + 0.34 * size.maturity
        # From little fluid, where the wall lies on the fetus, to plenty.
        radii = np.array([78.0, 52.0, 104.0]) * growth * rng.uniform(0.72, 1.12, 3)
        side = rng.standard_normal(3) * np.array([0.5, 1.0, 0.6])
        side /= length(side)
        belly = body_frame.to_scene((0.0, body.radius_mm, -0.3 * body.half_length_mm))
        return cls(
            gestational_age_weeks=weeks,
            signals=draw_signals(rng, float(rng.uniform(80, 130))),
            mother=Mother.draw(radii[1] + 8, radii[0] + 8, rng),
            head=head,
            head_frame=head_frame,
            body=body,
            body_frame=body_frame,
            cord=Cord.draw(side * radii * 0.9, belly, rng),
            uterus_radii_mm=radii,
            wall_mm=float(rng.uniform(4, 9)),
            head_margin_mm=float(rng.uniform(0, 9)),
            placenta_side=side,
            placenta_mm=float(rng.uniform(26, 46)),
            placenta_reach_mm=float(rng.uniform(75, 120)),
            swirl=float(rng.choice([0.02, 0.15]) * rng.random()),
            lobules=Mottle.draw(rng, 22.0),
            # Many a placenta is smooth, some are spotted.
            cotyledons=Patches.draw(
                rng,
                float(rng.uniform(14, 40)),
                float(rng.choice([0.0, 0.2]) * rng.random()),
                dark=float(rng.choice([0.0, 0.08])),
            ),
            outline=Waves.draw(rng, 70.0, 5),
        )

    def render_surroundings(self, plane: Plane, edge_mm: float) -> Field:
        """Signal of all but the fetus, (height, width) float32.

        Boundaries are `edge_mm` wide: drawn once a slice, that stands for partial volume.
        """
        canvas = Canvas(plane, edge_mm)
        self.mother.paint(canvas, MOTHER_FRAME, self.signals)
        self._paint_uterus(canvas)
        return canvas.signal

    def render(self, plane: Plane, surroundings: Field, motion: Motion) -> tuple[Field, Field]:
        """Signal and brain coverage (0–1) of a thin plane, both (height, width) float32.

        `surroundings` is the slice's `render_surroundings`; its thin planes share it.
        """
        canvas = Canvas(plane, plane.pixel_mm)
        canvas.signal[:] = surroundings
        pivot = self.head_frame.origin
        head_frame = self.head_frame.moved(pivot, motion.turn, motion.shift)
        body_frame = self.body_frame.moved(pivot, motion.turn, motion.shift)
        neck = head_frame.to_scene((0.0, -0.2 * self.head.radii_mm[1], -self.head.radii_mm[2]))
        self.body.paint(canvas, body_frame, neck, self.signals)
        self.head.paint(canvas, head_frame, self.signals)
        return canvas.signal, canvas.brain

    def _cavity(self, points: Points) -> Field:
        """Distance to the inside of the uterus, which wraps head and trunk."""
        room = ellipsoid(points, (0, 0, 0), tuple(self.uterus_radii_mm))
        trunk = _in_frame(points, self.body_frame)
        r = self.body.radius_mm
        girth = (1.08 * r + 5, 0.98 * r + 5, self.body.half_length_mm + 5)
        room = smooth_union(room, ellipsoid(trunk, (0, 0, 0), girth), 25.0)
        skull = _in_frame(points, self.head_frame)
        margin = self.head_margin_mm + self.head.scalp_mm
        a, b, c = (radius + margin for radius in self.head.radii_mm)
        room = smooth_union(room, ellipsoid(skull, (0, 0, 0), (a, b, c)), 20.0)
        return room + np.float32(2.0) * self.outline(points)

    def _paint_uterus(self, canvas: Canvas) -> None:
        reach = float(max(self.uterus_radii_mm)) + 75.0
        box = canvas.box(np.zeros(3), reach)
        if box is None:
            return
        points = canvas.points(box, MOTHER_FRAME)
        cavity = self._cavity(points)
        lobules = self.lobules(points)
        canvas.paint(
            box,
            cavity - np.float32(self.wall_mm),
            self.signals["uterus"] * (1 + np.float32(0.08) * lobules),
        )
        # Fluid that moves during the long echo train gives less signal, in swirls.
        still = 1 - np.float32(self.swirl) * np.clip(self.outline(points) * lobules, 0, 2)
        canvas.paint(box, cavity, self.signals["fluid"] * still)
        along = sum(p * np.float32(n) for p, n in zip(points, self.placenta_side, strict=True))
        aside2 = sum(p * p for p in points) - along * along
        thick = self.placenta_mm * np.sqrt(
            np.clip(1 - aside2 / np.float32(self.placenta_reach_mm**2), 0, 1)
        )
        thick = thick * np.clip(along / 30, 0, 1) * (1 + np.float32(0.12) * lobules)
        thick = thick.astype(np.float32)
        placenta = np.maximum(np.maximum(cavity, -cavity - thick), np.float32(1.0) - thick)
        septa = np.clip(1.6 - 8 * np.abs(lobules), 0, 1)
        tissue = self.signals["placenta"] * (1 + np.float32(0.06) * lobules - 0.12 * septa)
        tissue = tissue * self.cotyledons(points)
        covered = canvas.paint(box, placenta, tissue.astype(np.float32))
        fluid = np.zeros_like(canvas.signal)
        fluid[box] = coverage(cavity, canvas.edge_mm) * (1 - covered)
        self.cord.paint(canvas, MOTHER_FRAME, fluid, self.signals)


def _in_frame(points: Points, frame: Frame) -> Points:
    shifted = [p - np.float32(o) for p, o in zip(points, frame.origin, strict=True)]
    x, y, z = (
        sum(p * np.float32(a) for p, a in zip(shifted, axis, strict=True)) for axis in frame.axes
    )
    return x, y, z  # type: ignore[return-value]


def _draw_pose(head: Head, body: Body, rng: np.random.Generator) -> tuple[Frame, Frame]:
    """Head down in most, breech or across in some; the back to any side, the head bent forward."""
    lie = rng.choice([np.pi, 0.0, np.pi / 2], p=[0.68, 0.2, 0.12])
    tilt = lie + rng.normal(0, 0.25)
    towards = rng.uniform(0, 2 * np.pi)
    # The rotation carries the fetus' z (to its head) from the mother's z to where it lies.
    axis = (
        np.array([np.cos(towards), np.sin(towards), 0.0])
        if lie != np.pi / 2
        else np.array([0.0, 1.0, 0.0])
    )
    lying = Rotation.from_rotvec(tilt * axis) * Rotation.from_rotvec(
        [0, 0, rng.uniform(0, 2 * np.pi)]
    )
    nod = Rotation.from_rotvec([rng.normal(-0.35, 0.2), rng.normal(0, 0.12), rng.normal(0, 0.25)])
    body_axes = lying.as_matrix().T
    head_axes = (lying * nod).as_matrix().T
    gap = head.radii_mm[2] + 0.95 * body.half_length_mm
    ahead = body_axes[2] * gap + body_axes[1] * 0.25 * head.radii_mm[1]
    # The middle of the fetus, not of its trunk, lies in the middle of the uterus.
    middle = 0.55 * ahead + rng.normal(0, 6.0, 3)
    return Frame(ahead - middle, head_axes), Frame(-middle, body_axes)
