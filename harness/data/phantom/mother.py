"""The mother around the uterus: fat, muscle, spine, vessels, bladder, bowel, liver and pelvis.

Local frame: x to her right, y to the front, z to the head; origin in the middle of the uterus.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.canvas import Box, Canvas, Frame
from harness.data.phantom.shapes import (
    Field,
    Mottle,
    Patches,
    Points,
    Waves,
    capsule,
    ellipse,
    ellipsoid,
    length,
)


@dataclass(frozen=True)
class Blob:
    """One ellipsoid of bowel, with a wall."""

    centre: NDArray[np.float64]
    radii: tuple[float, float, float]
    tissue: str


@dataclass(frozen=True)
class Mother:
    """Sizes of one mother, built around a uterus of given depth."""

    half_width_mm: float
    half_depth_mm: float
    centre_y_mm: float
    fat_mm: float
    muscle_mm: float
    arm: bool
    outline: Waves
    lumps: Waves
    mottle: Mottle
    streaks: Mottle
    loops: Patches
    fibres: Patches
    blobs: tuple[Blob, ...]

    @classmethod
    def draw(
        cls, uterus_depth_mm: float, uterus_width_mm: float, rng: np.random.Generator
    ) -> Mother:
        """A mother whose abdomen just holds the uterus in front of her spine."""
        fat, muscle = float(rng.uniform(8, 32)), float(rng.uniform(6, 12))
        front = uterus_depth_mm + 8 + muscle + fat
        back = uterus_depth_mm + 8 + rng.uniform(65, 85) + 0.6 * fat
        half_width = max(uterus_width_mm + 18 + muscle + 1.5 * fat, rng.uniform(140, 175))
        blobs = []
        for _ in range(16):
            angle = rng.uniform(0, 2 * np.pi)
            ring = rng.uniform(1.02, 1.35)
            tissue = rng.choice(["gas", "bowel", "bowel", "viscera", "fluid"])
            centre = np.array(
                [
                    ring * uterus_width_mm * np.cos(angle),
                    ring * uterus_depth_mm * np.sin(angle),
                    rng.uniform(-150, 170),
                ]
            )
            a, b, c = rng.uniform(8, 22, 3).tolist()
            blobs.append(Blob(centre, (a, b, c), str(tissue)))
        return cls(
            half_width_mm=float(half_width),
            half_depth_mm=float(front + back) / 2,
            centre_y_mm=float(front - back) / 2,
            fat_mm=fat,
            muscle_mm=muscle,
            arm=bool(rng.random() < 0.4),
            outline=Waves.draw(rng, 160.0, 4),
            lumps=Waves.draw(rng, 30.0, 3),
            mottle=Mottle.draw(rng, 34.0),
            streaks=Mottle.draw(rng, 12.0),
            loops=Patches.draw(rng, float(rng.uniform(30, 90)), float(rng.uniform(0.0, 0.7))),
            fibres=Patches.draw(rng, float(rng.uniform(16, 40)), float(rng.uniform(0.05, 0.35))),
            blobs=tuple(blobs),
        )

    def paint(self, canvas: Canvas, frame: Frame, signals: dict[str, float]) -> None:
        """Draw everything outside the uterus."""
        box = canvas.whole
        points = canvas.points(box, frame)
        self._paint_wall(canvas, box, points, signals)
        self._paint_back(canvas, frame, signals)
        self._paint_organs(canvas, frame, signals)

    def _skin(self, points: Points) -> Field:
        x, y, z = points
        belly = np.float32(1.0) - np.clip(z / 420, -0.5, 0.5) ** 2
        round_ = ellipse(
            x,
            y - np.float32(self.centre_y_mm),
            self.half_width_mm * belly,
            self.half_depth_mm * belly,
        )
        return round_ + np.float32(3.0) * self.outline(points)

    def _paint_wall(
        self, canvas: Canvas, box: Box, points: Points, signals: dict[str, float]
    ) -> None:
        x, y, _ = points
        skin = self._skin(points)
        mottle = self.mottle(points)
        streaks = self.streaks(points)
        canvas.paint(box, skin, 0.5 * signals["fat"])
        canvas.paint(box, skin + np.float32(1.5), signals["fat"] * (1 + np.float32(0.05) * streaks))
        lateral = np.clip(np.abs(x) / self.half_width_mm, 0, 1)
        behind = np.clip((np.float32(self.centre_y_mm) - y) / self.half_depth_mm, 0, 1)
        fat_mm = self.fat_mm * (1 + 0.45 * lateral + 0.35 * behind)
        wall = skin + fat_mm.astype(np.float32) + np.float32(1.5) * mottle
        fibres = self.fibres(points)
        canvas.paint(box, wall, signals["muscle"] * fibres * (1 + np.float32(0.15) * streaks))
        cavity = wall + np.float32(self.muscle_mm)
        between = np.clip(0.5 + 0.6 * mottle, 0, 1)
        viscera = signals["viscera"] + between * (0.75 * signals["fat"] - signals["viscera"])
        viscera = viscera * self.loops(points) * (0.5 + 0.5 * fibres)
        canvas.paint(box, cavity, viscera * (1 + np.float32(0.12) * streaks))
        if self.arm:
            middle = self.half_width_mm + 48
            arm = ellipse(x - np.float32(middle), y + np.float32(20), 38.0, 42.0)
            canvas.paint(box, arm, 0.9 * signals["fat"])
            canvas.paint(box, arm + np.float32(10), signals["muscle"])
            canvas.paint(box, arm + np.float32(28), signals["bone"])

    def _paint_back(self, canvas: Canvas, frame: Frame, signals: dict[str, float]) -> None:
        """Vertebrae with discs, canal and cord, the muscles beside them and the great vessels."""
        spine_y = self.centre_y_mm - self.half_depth_mm + 46 + 0.6 * self.fat_mm
        box = _band(canvas, frame, spine_y, 85.0)
        if box is None:
            return
        x, y, z = canvas.points(box, frame)
        side = np.abs(x)
        muscle = signals["muscle"] * (1 + np.float32(0.35) * self.streaks((x, y, z)))
        back = ellipse(side - np.float32(34), y - np.float32(spine_y - 24), 30.0, 19.0)
        canvas.paint(box, back, muscle)
        psoas = ellipse(side - np.float32(38), y - np.float32(spine_y + 8), 17.0, 20.0)
        canvas.paint(box, psoas, muscle)
        body = ellipse(x, y - np.float32(spine_y), 22.0, 16.0)
        canvas.paint(box, body - np.float32(1.5), 0.3 * signals["bone"])
        disc = np.clip(3.0 * np.cos(2 * np.pi * z / 33.0) - 1.9, 0, 1)
        marrow = 0.8 * signals["bone"] + disc * (signals["disc"] - 0.8 * signals["bone"])
        canvas.paint(box, body, marrow)
        arch = ellipse(x, y - np.float32(spine_y - 27), 14.0, 13.0)
        canvas.paint(box, arch, 0.4 * signals["bone"])
        canal = ellipse(x, y - np.float32(spine_y - 24), 9.0, 7.5)
        canvas.paint(box, canal, signals["csf"])
        canvas.paint(box, canal + np.float32(4.0), signals["brainstem"])
        for middle, radius in ((-11.0, 8.5), (11.0, 10.0)):
            vessel = ellipse(x - np.float32(middle), y - np.float32(spine_y + 25), radius, 7.5)
            canvas.paint(box, vessel, signals["vessel"])

    def _paint_organs(self, canvas: Canvas, frame: Frame, signals: dict[str, float]) -> None:
        floor = self.centre_y_mm
        depth, width = self.half_depth_mm, self.half_width_mm
        organs = (
            ((0.42 * width, floor - 0.30 * depth, 150.0), (34.0, 30.0, 58.0), "kidney"),
            ((-0.42 * width, floor - 0.30 * depth, 150.0), (34.0, 30.0, 58.0), "kidney"),
            ((0.40 * width, floor, 205.0), (0.42 * width, 0.6 * depth, 75.0), "liver"),
            ((0.62 * width, floor - 0.25 * depth, -150.0), (32.0, 52.0, 70.0), "bone"),
            ((-0.62 * width, floor - 0.25 * depth, -150.0), (32.0, 52.0, 70.0), "bone"),
            ((0.0, floor + 0.35 * depth, -150.0), (38.0, 26.0, 30.0), "urine"),
        )
        for centre, radii, tissue in organs:
            self._paint_ball(canvas, frame, np.array(centre), radii, signals[tissue], 0.10)
        for blob in self.blobs:
            wall = tuple(radius + 2.0 for radius in blob.radii)
            self._paint_ball(canvas, frame, blob.centre, wall, 0.8 * signals["uterus"], 0.0)
            self._paint_ball(canvas, frame, blob.centre, blob.radii, signals[blob.tissue], 0.25)

    def _paint_ball(
        self,
        canvas: Canvas,
        frame: Frame,
        centre: NDArray[np.float64],
        radii: tuple[float, ...],
        signal: float,
        roughness: float,
    ) -> None:
        box = canvas.box(frame.to_scene(centre), 1.1 * max(radii) + 3.0)
        if box is None:
            return
        points = canvas.points(box, frame)
        within = self._skin(points) + np.float32(self.fat_mm + self.muscle_mm)
        shape = ellipsoid(points, tuple(centre), radii)
        if roughness:
            shape = shape + np.float32(8 * roughness) * self.lumps(points)
        texture = 1 + np.float32(roughness) * self.streaks(points)
        canvas.paint(box, np.maximum(shape, within), signal * texture)


def _band(canvas: Canvas, frame: Frame, middle_y: float, reach_mm: float) -> Box | None:
    """The pixels within reach of the line x = 0, y = middle; None where there are none."""
    x, y, _ = canvas.points(canvas.whole, frame)
    near = (x * x + (y - np.float32(middle_y)) ** 2) < reach_mm**2
    rows, columns = np.flatnonzero(near.any(axis=1)), np.flatnonzero(near.any(axis=0))
    if rows.size == 0:
        return None
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def rod(
    canvas: Canvas,
    frame: Frame,
    start: NDArray[np.float64],
    end: NDArray[np.float64],
    radius: float,
) -> tuple[Box, Field] | None:
    """Box of and distance to a rod given in a frame's mm, or None where the plane misses it."""
    middle = (start + end) / 2
    reach = length(end - start) / 2 + radius + 2.0
    box = canvas.box(frame.to_scene(middle), reach)
    if box is None:
        return None
    return box, capsule(canvas.points(box, frame), start, end, radius)
