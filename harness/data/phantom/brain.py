"""What is inside the skull: a computed brain that folds with age, or one from a label map.

Coordinates are the head's: x to a side, y to the face, z to the vertex, in mm from the middle.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.data.phantom.atlas import LabelMap, Tissues, load_tissues
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

# Laminae from the pial surface inwards, in mm: where each tissue is at its purest.
LAMINAE_MM = (-0.4, 0.4, 1.6, 2.6, 4.6, 7.5, 30.0)


class Brain(ABC):
    """One fetus' brain with the fluid around it."""

    @abstractmethod
    def draw(
        self, points: Points, signals: dict[str, float], edge_mm: float
    ) -> tuple[Field, Field]:
        """Distance in mm to the inside of the skull, and the signal inside it, at points."""

    @property
    @abstractmethod
    def radii_mm(self) -> tuple[float, float, float]:
        """Half diameters of the skull's inside along x, y and z."""


@dataclass(frozen=True)
class Bands:
    """Layers of the young white matter that no label map tells apart; 0 mm where they are gone."""

    subplate_mm: float
    matrix_mm: float
    share: float

    @classmethod
    def draw(cls, size: FetalSize, rng: np.random.Generator) -> Bands:
        """The subplate dissolves from about 32 weeks on, the germinal matrix before that."""
        young = float(np.clip(1.5 - 1.5 * size.maturity, 0, 1))
        return cls(
            subplate_mm=float(rng.uniform(1.5, 4.5)),
            matrix_mm=float(max(0.0, rng.uniform(1.0, 3.0) * (1 - 1.2 * size.maturity))),
            share=young * float(rng.uniform(0.4, 1.0)),
        )


@dataclass(frozen=True)
class AtlasBrain(Brain):
    """A brain of a label map, scaled to the subject along each axis."""

    source: LabelMap
    scale: NDArray[np.float64]
    bands: Bands
    texture: Mottle

    @classmethod
    def fitted(
        cls,
        source: LabelMap,
        radii_mm: tuple[float, float, float],
        size: FetalSize,
        rng: np.random.Generator,
    ) -> AtlasBrain:
        """The map's brain at the width and length given; its height follows them."""
        tissues = load_tissues(source)
        scale = np.array(radii_mm) / tissues.radii_mm
        scale[2] = (scale[0] + scale[1]) / 2 * float(1 + 0.05 * rng.standard_normal())
        return cls(source, scale, Bands.draw(size, rng), Mottle.draw(rng, 12.0))

    @property
    def _tissues(self) -> Tissues:
        return load_tissues(self.source)

    @property
    def radii_mm(self) -> tuple[float, float, float]:
        """Half diameters of the envelope of all tissues."""
        a, b, c = (self._tissues.radii_mm * self.scale).tolist()
        return a, b, c

    def draw(
        self,
        points: Points,
        signals: dict[str, float],
        edge_mm: float,  # noqa: ARG002 (shares of tissue are soft already)
    ) -> tuple[Field, Field]:
        """Share of each tissue times its signal; what no label names is fluid."""
        tissues = self._tissues
        channels = tissues.sample(points, self.scale)
        depth, from_ventricles, to_envelope = (channels[..., index] for index in (-3, -2, -1))
        mean_scale = np.float32(self.scale.mean())
        white = self._white_matter(depth * mean_scale, from_ventricles * mean_scale, signals)
        signal = np.full(to_envelope.shape, signals["csf"], dtype=np.float32)
        for index, name in enumerate(tissues.names):
            own: float | Field = {
                "white_matter": white,
                "ventricles": signals["csf"],
            }.get(name, signals.get(name, signals["csf"]))
            signal += channels[..., index] * (own - np.float32(signals["csf"]))
        shade = 1 + np.float32(0.03) * self.texture(points)
        return to_envelope * mean_scale, signal * shade

    def _white_matter(
        self, depth: Field, from_ventricles: Field, signals: dict[str, float]
    ) -> Field:
        bands = self.bands
        white = np.float32(signals["white_matter"])
        below = np.clip((np.float32(bands.subplate_mm) - depth) / 1.5, 0, 1)
        signal = white + np.float32(bands.share) * below * (signals["subplate"] - white)
        if bands.matrix_mm:
            near = np.clip((np.float32(bands.matrix_mm) - from_ventricles) / 1.0, 0, 1)
            signal = signal + near * (signals["germinal_matrix"] - signal)
        return signal.astype(np.float32)


@dataclass(frozen=True)
class FoldedBrain(Brain):
    """A brain made of smooth shapes: lissencephalic until about 26 weeks, folded after that."""

    size: FetalSize
    inner_mm: tuple[float, float, float]
    fluid_mm: float
    ventricle_mm: float
    fissure_mm: float
    sulcus_mm: float
    folds: Waves
    islands: Waves
    rim: Waves
    texture: Mottle
    folia: Waves

    @classmethod
    def fitted(
        cls, radii_mm: tuple[float, float, float], size: FetalSize, rng: np.random.Generator
    ) -> FoldedBrain:
        """A brain in a skull of that inside: fluid thins and folds crowd with age."""
        maturity = size.maturity
        return cls(
            size=size,
            inner_mm=radii_mm,
            fluid_mm=max(1.2, float(4.6 - 3.0 * maturity + 0.9 * rng.standard_normal())),
            ventricle_mm=float((4.0 - 0.8 * maturity) * np.exp(0.25 * rng.standard_normal())),
            fissure_mm=float(0.6 - 0.4 * maturity + 0.4 * rng.random()),
            sulcus_mm=float(0.15 + 0.25 * rng.random()),
            folds=Waves.draw(rng, 36.0 - 14.0 * maturity, 6),
            islands=Waves.draw(rng, 34.0, 4),
            rim=Waves.draw(rng, 48.0, 4),
            texture=Mottle.draw(rng, 12.0),
            folia=Waves.draw(rng, 4.5, 3),
        )

    @property
    def radii_mm(self) -> tuple[float, float, float]:
        """Half diameters of the skull's inside."""
        return self.inner_mm

    def draw(
        self, points: Points, signals: dict[str, float], edge_mm: float
    ) -> tuple[Field, Field]:
        """The hull's lobes, the fluid in it, and the parts of the brain one over the other."""
        cerebral, temporal, fossa = self._lobes(points)
        cavity = smooth_union(smooth_union(cerebral, temporal, 5.0), fossa, 5.0)
        signal = np.full(cavity.shape, signals["csf"], dtype=np.float32)
        self._paint_cerebrum(signal, points, cerebral, temporal, signals, edge_mm)
        self._paint_fossa(signal, points, signals, edge_mm)
        self._paint_ventricles(signal, points, signals, edge_mm)
        return cavity, signal

    def _lobes(self, points: Points) -> tuple[Field, Field, Field]:
        """Distances to the skull's inside above the tentorium, in the middle fossae and behind.

        The frontal floor lies high, the middle fossae reach lower, and the posterior fossa ends in
        the canal around the brainstem.
        """
        x, y, z = points
        a, b, c = self.inner_mm
        wider = 1 - np.float32(0.10 / b) * y  # the parietal bones stand wider than the forehead
        bent = (x / np.clip(wider, 0.8, 1.15), y, z)
        vault = ellipsoid(bent, (0, 0, 0.10 * c), (a, b, 0.90 * c))
        floor_mm = c * (-0.34 + 0.14 * np.clip((y / b + 0.05) / 0.5, 0, 1))
        cerebral = smooth_intersection(vault, floor_mm - z, 7.0)
        side = (np.abs(x), y, z)
        temporal = ellipsoid(side, (0.50 * a, 0.06 * b, -0.26 * c), (0.40 * a, 0.50 * b, 0.34 * c))
        behind = ellipsoid(points, (0, -0.40 * b, -0.42 * c), (0.66 * a, 0.44 * b, 0.36 * c))
        canal = capsule(
            points,
            np.array([0.0, -0.12 * b, -0.40 * c]),
            np.array([0.0, -0.26 * b, -0.92 * c]),
            0.26 * a,
            0.17 * a,
        )
        return cerebral, temporal, smooth_union(behind, canal, 5.0)

    def _paint_cerebrum(
        self,
        signal: Field,
        points: Points,
        cerebral: Field,
        temporal: Field,
        signals: dict[str, float],
        edge_mm: float,
    ) -> None:
        pial = self._pial_distance(points, cerebral, temporal)
        # The bands under the cortex fade as the subplate dissolves, from about 32 weeks on.
        band = float(np.clip(1.6 - 1.6 * self.size.maturity, 0, 1))
        white = signals["white_matter"]
        subplate = white + band * (signals["subplate"] - white)
        deep = white * (1 - 0.10 * band)
        cortex, csf = signals["cortex"], signals["csf"]
        laminae = (csf, cortex, cortex, subplate, subplate, deep, deep)
        tissue = np.interp(-pial, LAMINAE_MM, laminae).astype(np.float32)
        shade = 1 + np.float32(0.03) * self.texture(points)
        inside = coverage(pial, edge_mm)
        _lay(signal, inside, tissue * shade)
        a, b, c = self.inner_mm
        side = (np.abs(points[0]), points[1], points[2])
        for centre, radii in (
            ((0.36 * a, 0.16 * b, 0.02 * c), (0.13 * a, 0.22 * b, 0.20 * c)),
            ((0.17 * a, -0.06 * b, -0.04 * c), (0.16 * a, 0.19 * b, 0.19 * c)),
        ):
            soft = coverage(ellipsoid(side, centre, radii), 3.0)
            _lay(signal, soft * inside, signals["deep_grey"])

    def _pial_distance(self, points: Points, cerebral: Field, temporal: Field) -> Field:
        """Distance to the cerebrum's surface: hull, fissures, Sylvian fossa and sulci."""
        x, y, z = points
        a, b, c = self.inner_mm
        side = np.abs(x)
        maturity = self.size.maturity
        vertex = np.float32(1) + np.float32(0.35) * np.clip(z / c, 0, 1)
        fluid = np.float32(self.fluid_mm) * vertex
        fluid = fluid * np.clip(1 + np.float32(0.35) * self.rim(points), 0.3, 1.9)
        upper = cerebral + fluid
        lower = temporal + np.float32(0.75) * fluid
        # The Sylvian fossa parts the temporal lobe: a wide open notch early, a slit at the end.
        notch = ellipsoid(
            (side, y, z + 0.30 * (y - 0.05 * b)),
            (1.0 * a, 0.10 * b, -0.02 * c),
            (0.46 * a, 0.46 * b, 0.16 * c * (1.15 - maturity) + 1.0),
        )
        hull = smooth_intersection(smooth_union(upper, lower, 3.0), -notch, 3.0)
        parted = smooth_intersection(hull, np.float32(self.fissure_mm) - side, 2.0)
        core = ellipsoid(points, (0, -0.02 * b, -0.06 * c), (0.5 * a, 0.44 * b, 0.36 * c))
        cerebrum = np.minimum(parted, np.maximum(hull, core))
        return self._cut_sulci(cerebrum, points)

    def _cut_sulci(self, cerebrum: Field, points: Points) -> Field:
        """Sulci lie in parts of the sheets of a smooth field; they deepen to 13 mm with age."""
        weeks = self.size.weeks
        depth_mm = 13.0 / (1 + math.exp(-(weeks - 31.5) / 1.6))
        if depth_mm < 0.6:
            return cerebrum
        number = float(np.sqrt((self.folds.vectors**2).sum(axis=1).mean()))
        # For a unit-variance field the slope is its wave number; across the cut it is less.
        sheet = np.abs(self.folds(points)) / np.float32(number * 0.55)
        deep = np.float32(depth_mm) * np.clip(0.75 + 0.6 * self.islands(points), 0, 1.3)
        below = np.maximum(-cerebrum - deep, 0)
        sulcus = np.float32(self.sulcus_mm) - np.sqrt(sheet**2 + below**2)
        return smooth_intersection(cerebrum, sulcus, 1.6)

    def _paint_fossa(
        self, signal: Field, points: Points, signals: dict[str, float], edge_mm: float
    ) -> None:
        """Cerebellum, vermis and brainstem in their cisterns."""
        x, y, z = points
        _, b, c = self.inner_mm
        half = self.size.cerebellum / 2
        side = np.abs(x)
        lobe = ellipsoid(
            (side, y, z), (0.5 * half, -0.42 * b, -0.46 * c), (0.60 * half, 0.27 * b, 0.20 * c)
        )
        vermis = ellipsoid(points, (0, -0.40 * b, -0.42 * c), (0.28 * half, 0.25 * b, 0.19 * c))
        streaks = 1 + np.float32(0.05 + 0.06 * self.size.maturity) * self.folia(points)
        _lay(signal, coverage(lobe, edge_mm), signals["cerebellum"] * streaks)
        _lay(signal, coverage(vermis, edge_mm), 0.95 * signals["cerebellum"] * streaks)
        top = np.array([0.0, -0.04 * b, -0.14 * c])
        pons = np.array([0.0, -0.10 * b, -0.46 * c])
        end = np.array([0.0, -0.26 * b, -1.0 * c])
        thick = 0.12 * b
        stem = smooth_union(
            capsule(points, top, pons, 0.9 * thick, 1.15 * thick),
            capsule(points, pons, end, thick, 0.55 * thick),
            4.0,
        )
        _lay(signal, coverage(stem, edge_mm), signals["brainstem"])
        fourth = ellipsoid(points, (0, -0.25 * b, -0.46 * c), (2.4, 1.8, 0.12 * c))
        _lay(signal, coverage(fourth, edge_mm), signals["csf"])

    def _paint_ventricles(
        self, signal: Field, points: Points, signals: dict[str, float], edge_mm: float
    ) -> None:
        """Lateral ventricles with germinal matrix and choroid plexus, cavum, third ventricle."""
        x, y, z = points
        a, b, c = self.inner_mm
        side = (np.abs(x), y, z)
        wide = self.ventricle_mm
        horn = np.array([0.15 * a, 0.42 * b, 0.10 * c])
        body = np.array([0.19 * a, 0.00 * b, 0.26 * c])
        atrium = np.array([0.36 * a, -0.42 * b, 0.08 * c])
        occipital = np.array([0.36 * a, -0.66 * b, 0.04 * c])
        temporal = np.array([0.52 * a, 0.06 * b, -0.28 * c])
        lateral = smooth_union(
            capsule(side, horn, body, 0.55 * wide, 0.6 * wide),
            capsule(side, body, atrium, 0.6 * wide, wide),
            3.0,
        )
        lateral = smooth_union(lateral, capsule(side, atrium, occipital, wide, 0.6 * wide), 3.0)
        lateral = np.minimum(lateral, capsule(side, atrium, temporal, 0.7 * wide, 0.35 * wide))
        matrix_mm = max(0.0, 2.2 - 2.2 * self.size.maturity)
        matrix = coverage(lateral - np.float32(matrix_mm), edge_mm)
        _lay(signal, matrix, signals["germinal_matrix"])
        _lay(signal, coverage(lateral, edge_mm), signals["csf"])
        plexus = capsule(side, atrium, 0.5 * (atrium + body), 0.5 * wide, 0.3 * wide)
        _lay(signal, coverage(plexus, edge_mm), signals["choroid"])
        for centre, radii in (
            ((0.0, 0.22 * b, 0.14 * c), (2.3, 0.17 * b, 0.08 * c)),
            ((0.0, 0.0, -0.08 * c), (1.1, 0.14 * b, 0.13 * c)),
        ):
            _lay(signal, coverage(ellipsoid(points, centre, radii), edge_mm), signals["csf"])


def _lay(signal: Field, share: Field, over: float | Field) -> None:
    """Mix what lies over into a signal by its share of each pixel, in place."""
    signal += share * (over - signal)
