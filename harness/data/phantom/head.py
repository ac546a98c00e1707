"""The fetal head: a brain, the skull around it, scalp, skull base, eyes and face.

Local frame: x to a side, y to the face, z to the vertex; origin in the middle of the skull.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.data.phantom.atlas import LabelMap
from harness.data.phantom.brain import AtlasBrain, Brain, FoldedBrain
from harness.data.phantom.canvas import Box, Canvas, Frame
from harness.data.phantom.growth import FetalSize
from harness.data.phantom.shapes import (
    Field,
    Mottle,
    Points,
    Warp,
    coverage,
    ellipsoid,
    smooth_union,
)

# Annotators draw their line on the dark skull, not on its inner face.
ANNOTATION_MM = 0.7
# How likely a label map is falls with its distance in age from the subject's.
AGE_REACH_WEEKS = 4.0


@dataclass(frozen=True)
class Head:
    """One fetus' head; draws itself into a canvas in any pose."""

    size: FetalSize
    brain: Brain
    skull_mm: float
    scalp_mm: float
    warp: Warp
    face: Mottle

    @classmethod
    def draw(
        cls, size: FetalSize, rng: np.random.Generator, brains: tuple[LabelMap, ...] = ()
    ) -> Head:
        """A head of that size, with a computed brain or one of the label maps of about its age."""
        maturity = size.maturity
        skull_mm = 0.6 + 0.8 * maturity + 0.5 * rng.random()
        a, b, c = size.biparietal / 2, size.occipitofrontal / 2, size.height / 2
        inside = (a - skull_mm, b - skull_mm, c - skull_mm)
        brain = (
            AtlasBrain.fitted(_of_about_its_age(brains, size, rng), inside, size, rng)
            if brains
            else FoldedBrain.fitted(inside, size, rng)
        )
        return cls(
            size=size,
            brain=brain,
            skull_mm=skull_mm,
            scalp_mm=1.2 + 1.5 * maturity + rng.random(),
            warp=Warp.draw(rng, 0.035 * a, 1.9 * a),
            face=Mottle.draw(rng, float(rng.uniform(5.0, 10.0))),
        )

    @property
    def radii_mm(self) -> tuple[float, float, float]:
        """Half diameters of the skull's outside along x, y and z."""
        a, b, c = self.brain.radii_mm
        return a + self.skull_mm, b + self.skull_mm, c + self.skull_mm

    @property
    def reach_mm(self) -> float:
        """Radius of a ball around the origin that holds the whole head."""
        return 1.25 * max(self.radii_mm) + 8.0

    def paint(self, canvas: Canvas, frame: Frame, signals: dict[str, float]) -> None:
        """Draw the head and add its brain mask (all inside the skull, as annotators draw it)."""
        box = canvas.box(frame.origin, self.reach_mm)
        if box is None:
            return
        points = self.warp(canvas.points(box, frame))
        cavity, within = self.brain.draw(points, signals, canvas.edge_mm)
        self._paint_shell(canvas, box, points, cavity, signals)
        canvas.blend(box, coverage(cavity, canvas.edge_mm), within)
        drawn = coverage(cavity - np.float32(ANNOTATION_MM), canvas.edge_mm)
        canvas.brain[box] = np.maximum(canvas.brain[box], drawn)

    def _paint_shell(
        self, canvas: Canvas, box: Box, points: Points, cavity: Field, signals: dict[str, float]
    ) -> None:
        x, y, z = points
        a, b, c = self.radii_mm
        skull = cavity - np.float32(self.skull_mm)
        base = ellipsoid(points, (0, 0.12 * b, -0.42 * c), (0.78 * a, 0.70 * b, 0.46 * c))
        jaw = ellipsoid(points, (0, 0.46 * b, -0.78 * c), (0.58 * a, 0.46 * b, 0.58 * c))
        outer = smooth_union(smooth_union(skull, base, 6.0), jaw, 8.0)
        mottled = np.float32(1) + np.float32(0.45) * self.face(points)
        canvas.paint(box, outer - np.float32(self.scalp_mm), signals["scalp"])
        canvas.paint(box, outer, signals["face"] * np.clip(mottled, 0.15, 2.2))
        canvas.paint(box, skull, signals["skull"])
        side = (np.abs(x), y, z)
        ear = ellipsoid(side, (0.66 * a, -0.10 * b, -0.60 * c), (0.14 * a, 0.16 * b, 4.0))
        canvas.paint(box, np.maximum(ear, -skull), signals["eye"])
        nose = ellipsoid(side, (2.5, 0.78 * b, -0.66 * c), (1.6, 0.2 * b, 0.2 * c))
        canvas.paint(box, nose, signals["gas"] + 0.6 * signals["face"])
        eye_mm = 5.0 + 2.6 * self.size.maturity
        socket = (0.46 * a, 0.76 * b, -0.42 * c)
        globe = ellipsoid(side, socket, (eye_mm, eye_mm, eye_mm))
        canvas.paint(box, globe - np.float32(1.2), signals["skull"])
        canvas.paint(box, globe, signals["eye"])
        lens = (socket[0], socket[1] + eye_mm * 0.7, socket[2])
        canvas.paint(box, ellipsoid(side, lens, (2.2, 1.5, 2.2)), signals["lens"])


def _of_about_its_age(
    brains: tuple[LabelMap, ...], size: FetalSize, rng: np.random.Generator
) -> LabelMap:
    gaps = np.array([abs(item.weeks - size.weeks) for item in brains])
    likely = np.exp(-(gaps - gaps.min()) / AGE_REACH_WEEKS)
    return brains[int(rng.choice(len(brains), p=likely / likely.sum()))]
