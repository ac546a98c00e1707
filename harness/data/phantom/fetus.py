"""The fetal body (neck, trunk with organs, spine, limbs) and the umbilical cord."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.canvas import Canvas, Frame
from harness.data.phantom.growth import FetalSize
from harness.data.phantom.mother import rod
from harness.data.phantom.shapes import Mottle, Patches, capsule, ellipsoid, length

Limb = tuple[NDArray[np.float64], NDArray[np.float64], float]


@dataclass(frozen=True)
class Body:
    """Trunk in its own frame: x to a side, y to the belly, z to the head, origin in the middle."""

    radius_mm: float
    half_length_mm: float
    limbs: tuple[Limb, ...]
    texture: Mottle
    organs: Patches

    @classmethod
    def draw(cls, size: FetalSize, rng: np.random.Generator) -> Body:
        """A trunk of the abdomen's girth with bent arms and legs."""
        radius = size.abdomen_radius
        half_length = 1.75 * radius
        limbs: list[Limb] = []
        for side in (-1.0, 1.0):
            hip = np.array([side * 0.5 * radius, 0.1 * radius, -0.85 * half_length])
            knee = hip + _step(rng, (0.5 * side, 1.0, 0.35), size.femur * 1.05)
            foot = knee + _step(rng, (-0.3 * side, -0.2, -1.0), size.femur)
            shoulder = np.array([side * 0.8 * radius, 0.1 * radius, 0.75 * half_length])
            elbow = shoulder + _step(rng, (0.5 * side, 0.8, -0.7), size.femur * 0.95)
            hand = elbow + _step(rng, (-0.6 * side, 0.5, 0.7), size.femur * 0.9)
            limbs += [
                (hip, knee, 0.28 * radius),
                (knee, foot, 0.19 * radius),
                (shoulder, elbow, 0.19 * radius),
                (elbow, hand, 0.14 * radius),
            ]
        organs = Patches.draw(rng, float(rng.uniform(14, 34)), float(rng.uniform(0.1, 0.8)))
        return cls(radius, half_length, tuple(limbs), Mottle.draw(rng, 8.0), organs)

    @property
    def reach_mm(self) -> float:
        """Radius of a ball around the trunk's middle that holds it, without limbs."""
        return self.half_length_mm + 8.0

    def paint(
        self,
        canvas: Canvas,
        frame: Frame,
        neck: NDArray[np.float64],
        signals: dict[str, float],
    ) -> None:
        """Draw limbs, neck and trunk; `neck` is the head's base in the scene."""
        for start, end, radius in self.limbs:
            drawn = rod(canvas, frame, start, end, radius)
            if drawn is not None:
                box, shape = drawn
                canvas.paint(box, shape, 0.9 * signals["scalp"])
                canvas.paint(box, shape + np.float32(1.5), signals["fetal_muscle"])
                canvas.paint(box, shape + np.float32(0.62 * radius), signals["fetal_bone"])
        shoulders = np.array([0.0, -0.25 * self.radius_mm, 0.8 * self.half_length_mm])
        drawn = rod(canvas, frame, shoulders, frame.to_local(neck), 0.42 * self.radius_mm)
        if drawn is not None:
            box, shape = drawn
            canvas.paint(box, shape, signals["fetal_muscle"])
            canvas.paint(box, shape + np.float32(0.28 * self.radius_mm), signals["csf"])
            canvas.paint(box, shape + np.float32(0.35 * self.radius_mm), signals["brainstem"])
        self._paint_trunk(canvas, frame, signals)

    def _paint_trunk(self, canvas: Canvas, frame: Frame, signals: dict[str, float]) -> None:
        box = canvas.box(frame.origin, self.reach_mm)
        if box is None:
            return
        points = canvas.points(box, frame)
        r, half = self.radius_mm, self.half_length_mm
        trunk = ellipsoid(points, (0, 0, 0), (1.08 * r, 0.98 * r, half))
        texture = self.organs(points) * (1 + np.float32(0.12) * self.texture(points))
        canvas.paint(box, trunk, signals["scalp"])
        canvas.paint(box, trunk + np.float32(2.0), signals["fetal_muscle"] * texture)
        side = (np.abs(points[0]), points[1], points[2])
        for centre, radii, name in (
            ((0.48 * r, -0.05 * r, 0.38 * half), (0.38 * r, 0.55 * r, 0.34 * half), "lung"),
            ((0.42 * r, -0.45 * r, -0.30 * half), (0.24 * r, 0.26 * r, 0.20 * half), "kidney"),
        ):
            canvas.paint(box, ellipsoid(side, centre, radii), signals[name] * texture)
        for centre, radii, name in (
            ((0.0, 0.25 * r, 0.32 * half), (0.36 * r, 0.40 * r, 0.22 * half), "heart"),
            ((0.2 * r, 0.2 * r, -0.05 * half), (0.68 * r, 0.62 * r, 0.22 * half), "liver"),
            ((-0.45 * r, 0.1 * r, -0.08 * half), (0.22 * r, 0.26 * r, 0.10 * half), "fluid"),
            ((0.0, 0.35 * r, -0.40 * half), (0.60 * r, 0.45 * r, 0.22 * half), "bowel"),
            ((0.0, 0.45 * r, -0.72 * half), (0.24 * r, 0.26 * r, 0.12 * half), "urine"),
        ):
            canvas.paint(box, ellipsoid(points, centre, radii), signals[name] * texture)
        low = np.array([0.0, -0.72 * r, -0.75 * half])
        high = np.array([0.0, -0.62 * r, 0.75 * half])
        spine = np.maximum(capsule(points, low, high, 0.22 * r), trunk)
        canvas.paint(box, spine, signals["fetal_bone"])
        canvas.paint(box, spine + np.float32(0.10 * r), signals["csf"])
        canvas.paint(box, spine + np.float32(0.16 * r), signals["brainstem"])


@dataclass(frozen=True)
class Cord:
    """A winding line through the fluid, in scene mm, with vessels without signal inside."""

    path: NDArray[np.float64]
    radius_mm: float

    @classmethod
    def draw(
        cls, start: NDArray[np.float64], end: NDArray[np.float64], rng: np.random.Generator
    ) -> Cord:
        """From placenta to belly, with loops of a few centimetres."""
        t = np.linspace(0, 1, 29)[:, None]
        path = start + t * (end - start)
        for harmonic in range(1, 6):
            amplitude = rng.normal(0, 34.0 / harmonic, 3)
            path = path + np.sin(np.pi * harmonic * t) * amplitude
        return cls(path, float(rng.uniform(4.0, 6.0)))

    def paint(
        self,
        canvas: Canvas,
        scene_frame: Frame,
        fluid: NDArray[np.float32],
        signals: dict[str, float],
    ) -> None:
        """Draw the cord where the plane shows fluid (`fluid`: its coverage, (h, w))."""
        for index, (start, end) in enumerate(zip(self.path[:-1], self.path[1:], strict=True)):
            drawn = rod(canvas, scene_frame, start, end, self.radius_mm)
            if drawn is None:
                continue
            box, shape = drawn
            seen = fluid[box]
            edge = canvas.edge_mm
            canvas.blend(box, seen * np.clip(0.5 - shape / edge, 0, 1), signals["cord"])
            turn = 0.9 * index
            offset = 0.45 * self.radius_mm * np.array([np.cos(turn), np.sin(turn), 0.0])
            for sign in (-1.0, 1.0):
                vessel = rod(
                    canvas,
                    scene_frame,
                    start + sign * offset,
                    end + sign * offset,
                    0.38 * self.radius_mm,
                )
                if vessel is not None:
                    box, shape = vessel
                    alpha = fluid[box] * np.clip(0.5 - shape / edge, 0, 1)
                    canvas.blend(box, alpha, signals["vessel"])


def _step(
    rng: np.random.Generator, direction: tuple[float, float, float], length_mm: float
) -> NDArray[np.float64]:
    vector = np.asarray(direction) + 0.35 * rng.standard_normal(3)
    return vector / length(vector) * length_mm
