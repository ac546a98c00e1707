"""Names of slice directions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Within 25° of a scanner axis a stack is called after it.
LEAST_COSINE = float(np.cos(np.deg2rad(25)))


def orientation_name(slice_step: NDArray[np.float64]) -> str:
    """Name "axial", "coronal", "sagittal" or "oblique" for a step between slices in RAS mm."""
    direction = np.abs(slice_step) / np.linalg.norm(slice_step)
    axis = int(direction.argmax())
    if direction[axis] < LEAST_COSINE:
        return "oblique"
    return ("sagittal", "coronal", "axial")[axis]
