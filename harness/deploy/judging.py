"""What a segmented stack says about itself: how sure, which slices to look at, how many pieces."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

Masks = NDArray[np.uint8]

# A pixel of this probability on counts as a candidate for brain.
CANDIDATE = 0.1
UNSURE = 0.75
UNCERTAIN, GAP, APART = "uncertain", "gap", "apart"


def confidence(brain: NDArray[np.float32]) -> float:
    """Mean margin |2p − 1| over the pixels of a slice that may be brain, 0–1; 1 without any.

    `brain` is (h, w), the probability of brain. A slice that is marked clearly has unsure pixels
    along its outline alone; one that is marked faintly, or nearly marked, has little else.
    """
    candidates = brain[brain >= CANDIDATE]
    return float(np.abs(2 * candidates - 1).mean()) if candidates.size else 1.0


def largest_component(masks: Masks) -> Masks:
    """Of (slices, h, w) masks the largest piece, joined face to face within and across slices."""
    pieces = _pieces(masks)
    sizes = np.bincount(pieces.ravel())[1:]
    if len(sizes) < 2:
        return masks
    return (pieces == 1 + sizes.argmax()).astype(np.uint8)


def reasons(masks: Masks, sureness: NDArray[np.float64]) -> list[list[str]]:
    """Why each slice of (slices, h, w) masks should be looked at; an empty list if it need not.

    `uncertain`: the confidence is low. `gap`: empty between slices with brain. `apart`: what is
    marked belongs to another piece than the largest.
    """
    marked = np.asarray(masks.any(axis=(1, 2)))
    where = np.flatnonzero(marked)
    between = np.zeros(len(masks), dtype=bool)
    if len(where):
        between[where[0] : where[-1]] = True
    main = np.asarray(largest_component(masks).any(axis=(1, 2)))
    found = []
    for index in range(len(masks)):
        tests = (
            (UNCERTAIN, sureness[index] < UNSURE),
            (GAP, between[index] and not marked[index]),
            (APART, marked[index] and not main[index]),
        )
        found.append([name for name, holds in tests if holds])
    return found


def _pieces(masks: Masks) -> NDArray[np.int32]:
    labels, _ = ndimage.label(masks)  # type: ignore[misc]
    return np.asarray(labels, dtype=np.int32)
