"""Distances between the contours of two masks, in mm, each contour element weighted by its length.

The definition is that of Nikolov et al., "Clinically applicable segmentation of head and neck
anatomy for radiotherapy" (2021), whose authors call its Dice "surface Dice" (our NSD): a contour
passes through every 2×2 block of pixels that is neither empty nor full, at the block's centre, and
has there the length of the marching-squares line through it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import KDTree

Spacing = tuple[float, float]
"""Pixel size in mm, (y, x)."""

TIE = 1e-9
"""Shares of a contour closer than this are equal: float64 sums of some thousand lengths"""


@dataclass(frozen=True)
class Contours:
    """The distances from each contour element to the other contour (mm, ascending; float64 (n,)).

    `reference_lengths_mm` and `prediction_lengths_mm` stand in the same order as the distances.
    """

    to_prediction_mm: NDArray[np.float64]
    reference_lengths_mm: NDArray[np.float64]
    to_reference_mm: NDArray[np.float64]
    prediction_lengths_mm: NDArray[np.float64]


def _length_table(spacing_mm: Spacing) -> NDArray[np.float64]:
    """Contour length (mm) for each of the 16 codes of a 2×2 block.

    Bits: 1 upper left, 2 upper right, 4 lower left, 8 lower right. One pixel cut off (or one
    missing) is half a diagonal, two on a diagonal are two of these, a straight edge is one side.
    """
    y_mm, x_mm = spacing_mm
    half_diagonal = 0.5 * float(np.hypot(y_mm, x_mm))
    table = np.zeros(16)
    table[[1, 2, 4, 8, 7, 11, 13, 14]] = half_diagonal
    table[[6, 9]] = 2 * half_diagonal
    table[[3, 12]] = x_mm
    table[[5, 10]] = y_mm
    return table


def _elements(
    mask: NDArray[np.bool_], table: NDArray[np.float64]
) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
    """Positions (n, 2) and lengths in mm (n,) of the mask's contour elements."""
    padded = np.pad(mask, 1).view(np.uint8)
    # Zeros outside: a mask that touches the border of the image is closed there.
    code = padded[:-1, :-1] | padded[:-1, 1:] << 1 | padded[1:, :-1] << 2 | padded[1:, 1:] << 3
    rows, columns = np.nonzero((code != 0) & (code != 15))
    return np.stack([rows, columns], axis=1), table[code[rows, columns]]


def _nearest_mm(
    points: NDArray[np.intp], others: NDArray[np.intp], spacing_mm: Spacing
) -> NDArray[np.float64]:
    """Distance in mm from each of `points` (n, 2) to the nearest of `others` (m, 2)."""
    scale = np.asarray(spacing_mm, dtype=np.float64)
    _, nearest = KDTree(others * scale).query(points * scale)
    # From whole pixels again, so that a distance of exactly the tolerance is not missed by the
    # rounding of two products.
    return np.sqrt((((points - others[nearest]) * scale) ** 2).sum(axis=1))


def contours(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_], spacing_mm: Spacing
) -> Contours:
    """Distances between the contours of two masks (h, w), neither of them empty.

    Cropped to the bounding box of the union first: everything outside is background in both.
    """
    union = reference | prediction
    rows = np.flatnonzero(union.any(axis=1))
    columns = np.flatnonzero(union.any(axis=0))
    box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    table = _length_table(spacing_mm)
    ours, our_lengths = _elements(reference[box], table)
    theirs, their_lengths = _elements(prediction[box], table)
    to_prediction = _nearest_mm(ours, theirs, spacing_mm)
    to_reference = _nearest_mm(theirs, ours, spacing_mm)
    there = np.lexsort((our_lengths, to_prediction))
    back = np.lexsort((their_lengths, to_reference))
    return Contours(
        to_prediction[there], our_lengths[there], to_reference[back], their_lengths[back]
    )


def nsd(pair: Contours, tolerance_mm: float) -> float:
    """Normalised surface distance: the share of both contours within `tolerance_mm` (0–1)."""
    near = pair.reference_lengths_mm[pair.to_prediction_mm <= tolerance_mm].sum()
    near += pair.prediction_lengths_mm[pair.to_reference_mm <= tolerance_mm].sum()
    return float(near / (pair.reference_lengths_mm.sum() + pair.prediction_lengths_mm.sum()))


def hausdorff_mm(pair: Contours, percent: float = 95.0) -> float:
    """The larger of the two directed percentiles of the distance, in mm; 100 is the maximum."""
    return max(
        _percentile(pair.to_prediction_mm, pair.reference_lengths_mm, percent),
        _percentile(pair.to_reference_mm, pair.prediction_lengths_mm, percent),
    )


def _percentile(
    distances: NDArray[np.float64], lengths: NDArray[np.float64], percent: float
) -> float:
    """Least distance that holds `percent` of the contour's length."""
    share = np.cumsum(lengths) / lengths.sum()
    # A share of exactly the percentile is reached, whichever way its sum was rounded.
    index = int(np.searchsorted(share, percent / 100.0 - TIE))
    return float(distances[min(index, len(distances) - 1)])
