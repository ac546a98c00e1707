"""Weights of bilinear resizing, for backends that write it as a matrix product per axis."""

from __future__ import annotations

import numpy as np


def linear_weights(source: int, target: int) -> np.ndarray:
    """(target, source) float64: the two source weights of each output.

    Half-pixel centres, edges repeated, no antialiasing.
    """
    centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(source)))
