"""Weights of bilinear resizing, and rows of nearest, for backends that write them out by axis."""

from __future__ import annotations

import numpy as np


def linear_weights(source: int, target: int) -> np.ndarray:
    """(target, source) float64: the two source weights of each output.

    Half-pixel centres, edges repeated, no antialiasing.
    """
    centres = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    return np.maximum(0, 1 - np.abs(centres[:, None] - np.arange(source)))


def nearest_rows(source: int, target: int) -> np.ndarray:
    """(target,) int64: the source row of each output, floor((i + ½) · source / target)."""
    return (2 * np.arange(target) + 1) * source // (2 * target)
