"""The fetal head: scalp, skull, fluid, a brain that folds with age, and the face below it.

Local frame: x to a side, y to the face, z to the vertex; origin in the middle of the skull.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from harness.data.phantom.canvas import Box, Canvas, Frame
from harness.data.phantom.growth import FetalSize
from harness.data.phantom.shapes import (
    Field,
    Mottle,
    Points,
    Waves,
    capsule,
    coverage,
    ellipsoid,
    smooth_intersection,
    smooth_union,
)

# Annotators draw their line on the dark skull, not on its inner face.
ANNOTATION_MM = 0.7
# Laminae from the pial surface inwards, in mm: where each tissue is at its purest.
LAMINAE_MM = (-0.4, 0.4, 1.7, 2.9, 5.0, 8.0, 30.0)


@dataclass(frozen=True)
class Head:
    """One fetus' head; draws itself into a canvas in any pose."""

    size: FetalSize
    skull_mm: float
    scalp_mm: float
    fluid_mm: float
    ventricle_mm: float
    fissure_mm: float
    sulcus_mm: float
    folds: Waves
    shape: Waves
    texture: Mottle
    face: Mottle
    folia: Waves

    @classmethod
    def draw(cls, size: FetalSize, rng: np.random.Generator) -> Head:
        """A head of that size: fluid thins and folds crowd with age."""
        maturity = size.maturity
        return cls(
            size=size,
            skull_mm=1.0 + 0.8 * maturity + 0.4 * rng.random(),
            scalp_mm=1.2 + 1.5 * maturity + rng.random(),
            fluid_mm=max(1.2, float(4.2 - 2.6 * maturity + 0.8 * rng.standard_normal())),
            ventricle_mm=float(3.4 * np.exp(0.22 * rng.standard_normal())),
            fissure_mm=0.9 - 0.5 * maturity + 0.3 * rng.random(),
            sulcus_mm=0.35 + 0.35 * maturity + 0.2 * rng.random(),
            folds=Waves.draw(rng, 26.0 - 9.0 * maturity, 7),
            shape=Waves.draw(rng, 60.0, 4),
            texture=Mottle.draw(rng, 12.0),
            face=Mottle.draw(rng, 9.0),
            folia=Waves.draw(rng, 4.5, 3),
        )

    @property
    def radii_mm(self) -> tuple[float, float, float]:
        """Half diameters of the skull's outside along x, y and z."""
        return self.size.biparietal / 2, self.size.occipitofrontal / 2, self.size.height / 2

    @property
    def reach_mm(self) -> float:
        """Radius of a ball around the origin that holds the whole head."""
        return 1.25 * max(self.radii_mm) + 6.0

    def paint(self, canvas: Canvas, frame: Frame, signals: dict[str, float]) -> None:
        """Draw the head and add its brain mask (all inside the skull, as annotators draw it)."""
        box = canvas.box(frame.origin, self.reach_mm)
        if box is None:
            return
        points = canvas.points(box, frame)
        cranium, cavity = self._cranium(points)
        self._paint_shell(canvas, box, points, cranium, signals)
        inside = coverage(cavity, canvas.edge_mm)
        drawn = coverage(cavity - np.float32(ANNOTATION_MM), canvas.edge_mm)
        canvas.brain[box] = np.maximum(canvas.brain[box], drawn)
        if not inside.any():
            return
        before = canvas.signal[box].copy()
        canvas.signal[box] = signals["csf"]
        self._paint_cerebrum(canvas, box, points, cavity, signals)
        self._paint_fossa(canvas, box, points, signals)
        self._paint_ventricles(canvas, box, points, signals)
        # The brain was drawn over the whole box: keep it inside the skull only.
        canvas.signal[box] = before + inside * (canvas.signal[box] - before)

    def _cranium(self, points: Points) -> tuple[Field, Field]:
        """Distances to the skull's outside and to the cavity, whose floor steps down backwards."""
        x, y, z = points
        a, b, c = self.radii_mm
        wider = 1 - np.float32(0.10 / b) * y  # the parietal bones stand wider than the forehead
        bent = (x / np.clip(wider, 0.8, 1.15), y, z)
        skull = ellipsoid(bent, (0, 0, 0), (a, b, c)) + np.float32(0.012 * a) * self.shape(points)
        floor_mm = c * (-0.62 + 0.30 * np.clip((y / b + 0.15) / 0.5, 0, 1))
        cavity = smooth_intersection(skull + np.float32(self.skull_mm), floor_mm - z, 6.0)
        return skull, cavity

    def _paint_shell(
        self, canvas: Canvas, box: Box, points: Points, skull: Field, signals: dict[str, float]
    ) -> None:
        x, y, z = points
        a, b, c = self.radii_mm
        jaw = ellipsoid(points, (0, 0.42 * b, -0.70 * c), (0.62 * a, 0.52 * b, 0.62 * c))
        outer = smooth_union(skull, jaw, 10.0)
        mottled = np.float32(1) + np.float32(0.45) * self.face(points)
        canvas.paint(box, outer - np.float32(self.scalp_mm), signals["scalp"])
        canvas.paint(box, outer, signals["face"] * np.clip(mottled, 0.15, 2.2))
        canvas.paint(box, np.maximum(skull, -0.55 * c - z), signals["skull"])
        side = np.abs(x)
        ear = ellipsoid((side, y, z), (0.62 * a, -0.15 * b, -0.66 * c), (0.16 * a, 0.16 * b, 5.0))
        canvas.paint(box, ear, signals["eye"])
        nose = ellipsoid((side, y, z), (2.5, 0.72 * b, -0.72 * c), (1.6, 0.2 * b, 0.2 * c))
        canvas.paint(box, nose, signals["gas"] + 0.6 * signals["face"])
        eye_mm = 5.0 + 2.6 * self.size.maturity
        socket = (0.46 * a, 0.74 * b, -0.50 * c)
        globe = ellipsoid((side, y, z), socket, (eye_mm, eye_mm, eye_mm))
        canvas.paint(box, globe - np.float32(1.2), signals["skull"])
        canvas.paint(box, globe, signals["eye"])
        lens = (socket[0], socket[1] + eye_mm * 0.7, socket[2])
        canvas.paint(box, ellipsoid((side, y, z), lens, (2.2, 1.5, 2.2)), signals["lens"])

    def _paint_cerebrum(
        self, canvas: Canvas, box: Box, points: Points, cavity: Field, signals: dict[str, float]
    ) -> None:
        pial = self._pial_distance(points, cavity)
        maturity = self.size.maturity
        # The bands under the cortex fade as the subplate dissolves, from about 32 weeks on.
        band = np.clip(1.6 - 1.6 * maturity, 0, 1)
        white = signals["white_matter"]
        subplate = white + band * (signals["subplate"] - white)
        deep = white * (1 - 0.10 * band)
        laminae = (
            signals["csf"],
            signals["cortex"],
            signals["cortex"],
            subplate,
            subplate,
            deep,
            deep,
        )
        tissue = np.interp(-pial, LAMINAE_MM, laminae).astype(np.float32)
        shade = 1 + np.float32(0.03) * self.texture(points)
        canvas.blend(box, coverage(pial, canvas.edge_mm), tissue * shade)
        a, b, c = self.radii_mm
        side = (np.abs(points[0]), points[1], points[2])
        for centre, radii, name in (
            ((0.36 * a, 0.16 * b, -0.06 * c), (0.13 * a, 0.22 * b, 0.20 * c), "deep_grey"),
            ((0.17 * a, -0.06 * b, -0.12 * c), (0.16 * a, 0.19 * b, 0.19 * c), "deep_grey"),
        ):
            soft = coverage(ellipsoid(side, centre, radii), 3.0)
            canvas.blend(box, soft * coverage(pial, canvas.edge_mm), signals[name])

    def _pial_distance(self, points: Points, cavity: Field) -> Field:
        """Distance to the cerebrum's surface: hull, fissures, tentorium and sulci."""
        x, y, z = points
        a, b, c = self.radii_mm
        side = np.abs(x)
        maturity = self.size.maturity
        vertex = np.float32(1) + np.float32(0.35) * np.clip(z / c, 0, 1)
        hull = cavity + np.float32(self.fluid_mm) * vertex
        tentorium = c * (-0.22 - 0.20 * np.clip((y / b + 0.2) / 0.25, 0, 1)) - z
        tentorium = np.where(y < -0.12 * b, tentorium, np.float32(-40.0))
        hull = smooth_intersection(hull, tentorium, 4.0)
        fissure = np.float32(self.fissure_mm) - side
        core = ellipsoid(points, (0, -0.02 * b, -0.12 * c), (0.5 * a, 0.44 * b, 0.42 * c))
        parted = smooth_intersection(hull, fissure, 2.0)
        cerebrum = np.minimum(parted, np.maximum(hull, core))
        # The Sylvian fossa is a wide open notch early and closes to a slit.
        open_mm = 0.16 * c * (1.25 - maturity)
        notch = ellipsoid(
            (side, y, z + 0.25 * (y - 0.05 * b)),
            (1.0 * a, 0.08 * b, -0.10 * c),
            (0.42 * a, 0.42 * b, open_mm + 1.2),
        )
        cerebrum = smooth_intersection(cerebrum, -notch, 3.0)
        return self._cut_sulci(cerebrum, points)

    def _cut_sulci(self, cerebrum: Field, points: Points) -> Field:
        """Sulci lie where a smooth field is zero; their depth grows from 1 to 13 mm with age."""
        weeks = self.size.weeks
        depth_mm = 1.0 + 12.0 / (1 + math.exp(-(weeks - 31.5) / 2.0))
        number = float(np.sqrt((self.folds.vectors**2).sum(axis=1).mean()))
        # For a unit-variance field the slope is its wave number; across the cut it is less.
        sheet = np.abs(self.folds(points)) / np.float32(number * 0.55)
        below = np.maximum(-cerebrum - np.float32(depth_mm), 0)
        sulcus = np.float32(self.sulcus_mm) - np.sqrt(sheet**2 + below**2)
        return smooth_intersection(cerebrum, sulcus, 1.6)

    def _paint_fossa(
        self, canvas: Canvas, box: Box, points: Points, signals: dict[str, float]
    ) -> None:
        """Cerebellum, vermis and brainstem in their cisterns."""
        x, y, z = points
        _, b, c = self.radii_mm
        half = self.size.cerebellum / 2
        side = np.abs(x)
        lobe = ellipsoid(
            (side, y, z), (0.5 * half, -0.46 * b, -0.50 * c), (0.60 * half, 0.29 * b, 0.20 * c)
        )
        vermis = ellipsoid(points, (0, -0.44 * b, -0.46 * c), (0.28 * half, 0.27 * b, 0.19 * c))
        streaks = 1 + np.float32(0.05 + 0.06 * self.size.maturity) * self.folia(points)
        canvas.paint(box, lobe, signals["cerebellum"] * streaks)
        canvas.paint(box, vermis, 0.95 * signals["cerebellum"] * streaks)
        top = np.array([0.0, -0.06 * b, -0.20 * c])
        pons = np.array([0.0, -0.10 * b, -0.52 * c])
        end = np.array([0.0, -0.26 * b, -1.05 * c])
        thick = 0.12 * b
        stem = smooth_union(
            capsule(points, top, pons, 0.9 * thick, 1.15 * thick),
            capsule(points, pons, end, thick, 0.55 * thick),
            4.0,
        )
        canvas.paint(box, stem, signals["brainstem"])
        fourth = ellipsoid(points, (0, -0.26 * b, -0.52 * c), (2.4, 1.8, 0.12 * c))
        canvas.paint(box, fourth, signals["csf"])

    def _paint_ventricles(
        self, canvas: Canvas, box: Box, points: Points, signals: dict[str, float]
    ) -> None:
        """Lateral ventricles with germinal matrix and choroid plexus, cavum, third ventricle."""
        x, y, z = points
        a, b, c = self.radii_mm
        side = (np.abs(x), y, z)
        wide = self.ventricle_mm
        horn = np.array([0.15 * a, 0.40 * b, 0.02 * c])
        body = np.array([0.17 * a, 0.00 * b, 0.18 * c])
        atrium = np.array([0.36 * a, -0.40 * b, 0.02 * c])
        occipital = np.array([0.34 * a, -0.66 * b, 0.00 * c])
        temporal = np.array([0.50 * a, -0.02 * b, -0.34 * c])
        lateral = smooth_union(
            capsule(side, horn, body, 0.55 * wide, 0.6 * wide),
            capsule(side, body, atrium, 0.6 * wide, wide),
            3.0,
        )
        lateral = smooth_union(lateral, capsule(side, atrium, occipital, wide, 0.5 * wide), 3.0)
        lateral = np.minimum(lateral, capsule(side, atrium, temporal, 0.7 * wide, 0.35 * wide))
        matrix_mm = max(0.0, 1.9 - 1.9 * self.size.maturity)
        canvas.paint(box, lateral - np.float32(matrix_mm), signals["germinal_matrix"])
        canvas.paint(box, lateral, signals["csf"])
        plexus = capsule(side, atrium, 0.5 * (atrium + body), 0.5 * wide, 0.3 * wide)
        canvas.paint(box, plexus, signals["choroid"])
        cavum = ellipsoid(points, (0, 0.22 * b, 0.06 * c), (2.3, 0.17 * b, 0.08 * c))
        canvas.paint(box, cavum, signals["csf"])
        third = ellipsoid(points, (0, 0.0, -0.16 * c), (1.1, 0.14 * b, 0.13 * c))
        canvas.paint(box, third, signals["csf"])
