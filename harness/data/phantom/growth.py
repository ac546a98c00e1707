"""Fetal sizes by gestational age, in millimetres.

Head and abdomen follow the INTERGROWTH-21st standards (Papageorghiou et al., Lancet 2014;
384:869–79, doi:10.1016/S0140-6736(14)61490-2: equations of the means). The transcerebellar
diameter is a millimetre for each week up to 24 weeks and grows faster after that (Goldstein et
al., Am J Obstet Gynecol 1987; 156:1065–9); the quadratic that says so here is our own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

YOUNGEST_WEEKS = 22.0
OLDEST_WEEKS = 38.0


def biparietal_diameter_mm(weeks: float) -> float:
    """Mean outer-to-outer biparietal diameter."""
    return 5.60878 + 0.158369 * weeks**2 - 0.00256379 * weeks**3


def occipitofrontal_diameter_mm(weeks: float) -> float:
    """Mean occipito-frontal diameter."""
    return -12.4097 + 0.626342 * weeks**2 - 0.148075 * weeks**2 * math.log(weeks)


def abdominal_circumference_mm(weeks: float) -> float:
    """Mean abdominal circumference."""
    return -81.3243 + 11.6772 * weeks - 0.000561865 * weeks**3


def femur_length_mm(weeks: float) -> float:
    """Mean femur length."""
    return -39.9616 + 4.32298 * weeks - 0.0380156 * weeks**2


def transcerebellar_diameter_mm(weeks: float) -> float:
    """Transverse diameter of the cerebellum."""
    return 24.0 + 1.35 * (weeks - 24.0) + 0.03 * (weeks - 24.0) ** 2


@dataclass(frozen=True, kw_only=True)
class FetalSize:
    """One fetus' sizes in mm; `maturity` runs from 0 at 22 to 1 at 38 weeks."""

    weeks: float
    biparietal: float
    occipitofrontal: float
    height: float
    abdomen_radius: float
    femur: float
    cerebellum: float

    @property
    def maturity(self) -> float:
        """0 at 22 weeks, 1 at 38 weeks."""
        return (self.weeks - YOUNGEST_WEEKS) / (OLDEST_WEEKS - YOUNGEST_WEEKS)


def draw_size(weeks: float, rng: np.random.Generator) -> FetalSize:
    """Sizes of one fetus: the means for its age with about 4 % of variation between fetuses."""
    overall = float(1.0 + 0.025 * rng.standard_normal())
    # Python's floats keep float32 arrays float32; NumPy's would turn them into float64.
    own = [float(factor) for factor in 1.0 + 0.03 * rng.standard_normal(6)]
    biparietal = biparietal_diameter_mm(weeks) * overall * own[0]
    return FetalSize(
        weeks=weeks,
        biparietal=biparietal,
        occipitofrontal=occipitofrontal_diameter_mm(weeks) * overall * own[1],
        height=1.06 * biparietal * own[2],
        abdomen_radius=abdominal_circumference_mm(weeks) / (2 * np.pi) * overall * own[3],
        femur=femur_length_mm(weeks) * overall * own[4],
        cerebellum=transcerebellar_diameter_mm(weeks) * overall * own[5],
    )
