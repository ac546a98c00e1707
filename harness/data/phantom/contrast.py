"""Tissue signals of a single-shot fast spin echo: proton density times the decay to the echo time.

T2 at 1.5 T: amniotic fluid and cerebrospinal fluid above a second; fetal white matter 200–300 ms
and cortex 100–160 ms (fetal brain holds more water than an adult's); muscle, liver and others as in
Stanisz et al., Magn Reson Med 2005; 54:507–12 and de Bazelaire et al., Radiology 2004; 230:652–9.
Fat is given the long apparent T2 that closely spaced refocusing pulses lend it.
"""

from __future__ import annotations

import numpy as np

# Proton density (water = 1) and T2 in ms.
TISSUES: dict[str, tuple[float, float]] = {
    "air": (0.0, 1.0),
    "fluid": (1.0, 1200.0),
    "csf": (1.0, 1500.0),
    "cortex": (0.84, 108.0),
    "subplate": (0.93, 245.0),
    "white_matter": (0.91, 205.0),
    "germinal_matrix": (0.84, 115.0),
    "deep_grey": (0.85, 125.0),
    "cerebellum": (0.85, 125.0),
    "brainstem": (0.82, 115.0),
    "choroid": (0.85, 100.0),
    "skull": (0.25, 40.0),
    "scalp": (0.86, 170.0),
    "face": (0.75, 75.0),
    "eye": (1.0, 700.0),
    "lens": (0.55, 30.0),
    "fetal_muscle": (0.78, 70.0),
    "fetal_bone": (0.45, 45.0),
    "lung": (0.80, 170.0),
    "liver": (0.72, 55.0),
    "heart": (0.35, 45.0),
    "cord": (0.80, 150.0),
    "vessel": (0.10, 50.0),
    "placenta": (0.87, 125.0),
    "uterus": (0.82, 75.0),
    "muscle": (0.76, 48.0),
    "fat": (0.88, 190.0),
    "viscera": (0.76, 85.0),
    "bowel": (0.75, 110.0),
    "gas": (0.02, 20.0),
    "bone": (0.55, 60.0),
    "disc": (0.70, 90.0),
    "kidney": (0.85, 110.0),
    "urine": (1.0, 1300.0),
}

# Water at echo time 0 has this intensity, which puts fluid near 550 as on the real scanners.
SCALE = 600.0


def draw_signals(rng: np.random.Generator, echo_time_ms: float) -> dict[str, float]:
    """Signal of every tissue at the echo time, with 12 % variation of T2 and 3 % of density."""
    signals = {}
    for tissue, (density, t2_ms) in TISSUES.items():
        t2_ms = t2_ms * np.exp(0.12 * rng.standard_normal())
        density = density * (1 + 0.03 * rng.standard_normal())
        signals[tissue] = float(SCALE * density * np.exp(-echo_time_ms / t2_ms))
    return signals


def randomise(
    signals: dict[str, float], share: float, rng: np.random.Generator
) -> dict[str, float]:
    """Signals on the way from physics to any contrast, as SynthSeg draws it.

    `share` is how far at most, 0–1: at 1 a tissue may be anything from dark to as bright as fluid
    (Billot et al., Med Image Anal 2023; 86:102789).
    """
    far = share * float(rng.random())
    return {
        tissue: (1 - far) * signal + far * float(rng.uniform(0.03, 1.0)) * SCALE
        for tissue, signal in signals.items()
    }
