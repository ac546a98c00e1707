"""Scores of one slice from its two masks on the original grid; a network never scores itself.

Empty masks follow one table (design, statistics 2), so that no slice drops out of a mean:

| reference | prediction | Dice, IoU, precision, recall | NSD | HD95 | case |
|---|---|---|---|---|---|
| empty | empty | 1 | 1 | 0 | `empty_agreed` |
| empty | some | 0 | 0 | image diagonal | `false_alarm` |
| some | empty | 0 | 0 | image diagonal | `missed` |
| any | none given, or not finite | 0, and the paper's too | 0 | image diagonal | as above |
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.errors import DataError
from harness.metrics.contours import Spacing, contours, hausdorff_mm, nsd

Case = Literal["scored", "empty_agreed", "false_alarm", "missed"]

NO_PREDICTION = -1
"""`predicted_pixels` where a network gave no usable mask: its worst values are imputed, not seen"""

TOLERANCE_MM = 2.0


@dataclass(frozen=True)
class SliceScores:
    """Fractions (0–1), a distance in mm, the case by the table of empty masks, and pixel counts."""

    dice: float
    iou: float
    paper_dice: float
    paper_iou: float
    nsd: float
    hd95_mm: float
    precision: float
    recall: float
    case: Case
    brain_pixels: int
    predicted_pixels: int


def overlap(intersection: int, first: int, second: int) -> tuple[float, float]:
    """Dice and IoU from pixel counts; 1 and 1 where both masks are empty."""
    if first + second == 0:
        return 1.0, 1.0
    return 2 * intersection / (first + second), intersection / (first + second - intersection)


def slice_scores(
    reference: NDArray[np.bool_],
    prediction: NDArray[np.bool_] | None,
    spacing_mm: Spacing,
    tolerance_mm: float = TOLERANCE_MM,
) -> SliceScores:
    """Scores of one slice.

    `reference` and `prediction` are (h, w) of bool, True the brain, on the original grid;
    `spacing_mm` is the pixel size (y, x). `prediction` None is a failed one and scores worst.
    The paper's Dice and IoU are the means of the background's and the brain's. NSD and HD95 follow
    `harness.metrics.contours`. DataError where shapes, types or the spacing are not as said.
    """
    _check(reference, prediction, spacing_mm)
    brain = int(np.count_nonzero(reference))
    diagonal_mm = float(np.hypot(*(np.array(reference.shape) * spacing_mm)))
    if prediction is None:
        case: Case = "missed" if brain else "false_alarm"
        return SliceScores(0, 0, 0, 0, 0, diagonal_mm, 0, 0, case, brain, NO_PREDICTION)
    predicted = int(np.count_nonzero(prediction))
    both = int(np.count_nonzero(reference & prediction))
    dice, iou = overlap(both, brain, predicted)
    neither = reference.size - brain - predicted + both
    other_dice, other_iou = overlap(neither, reference.size - brain, reference.size - predicted)
    paper = (dice + other_dice) / 2, (iou + other_iou) / 2
    if not brain and not predicted:
        return SliceScores(dice, iou, *paper, 1.0, 0.0, 1.0, 1.0, "empty_agreed", 0, 0)
    if not brain or not predicted:
        case = "missed" if brain else "false_alarm"
        return SliceScores(0, 0, *paper, 0, diagonal_mm, 0, 0, case, brain, predicted)
    pair = contours(reference, prediction, spacing_mm)
    return SliceScores(
        dice,
        iou,
        *paper,
        nsd(pair, tolerance_mm),
        hausdorff_mm(pair),
        both / predicted,
        both / brain,
        "scored",
        brain,
        predicted,
    )


def _check(
    reference: NDArray[np.bool_], prediction: NDArray[np.bool_] | None, spacing_mm: Spacing
) -> None:
    for name, mask in (("reference", reference), ("prediction", prediction)):
        if mask is not None and (mask.dtype != np.bool_ or mask.ndim != 2):
            raise DataError(
                f"the {name} of a slice must be a (height, width) array of bool, "
                f"not {mask.dtype} of shape {mask.shape}; threshold it before scoring"
            )
    if prediction is not None and prediction.shape != reference.shape:
        raise DataError(
            f"the prediction is {prediction.shape} and the reference {reference.shape}; "
            "map the prediction back to the original grid before scoring"
        )
    if len(spacing_mm) != 2 or not all(np.isfinite(s) and s > 0 for s in spacing_mm):
        raise DataError(f"the pixel spacing (y, x) must be two lengths in mm, not {spacing_mm}")


def coarse_tolerance(spacings_mm: Iterable[Spacing], tolerance_mm: float) -> str | None:
    """Why NSD at this tolerance cannot be what it says on these pixels (y, x), or None if it can.

    Contour elements lie on the grid of pixels, so that two of them are less than a pixel apart only
    if they coincide: below the spacing NSD equals NSD at 0 and measures the grid.
    """
    sizes = [max(spacing) for spacing in spacings_mm]
    coarse = [size for size in sizes if size > tolerance_mm]
    if not coarse:
        return None
    return (
        f"NSD's tolerance of {tolerance_mm:g} mm is below the pixel spacing of {len(coarse)} of "
        f"{len(sizes)} slices (up to {max(coarse):.3g} mm): there it counts only contours that "
        "coincide; choose a tolerance of at least one pixel"
    )


def as_mask(prediction: NDArray[np.generic] | None) -> NDArray[np.bool_] | None:
    """A mask (h, w) of 0 and 1 in any type as bool; None where it is None or not finite."""
    if prediction is None or prediction.dtype == np.bool_:
        return prediction  # type: ignore[return-value]
    if not np.isfinite(prediction).all():
        return None
    if not np.isin(prediction, (0, 1)).all():
        raise DataError("a predicted mask holds values other than 0 and 1; threshold it first")
    return prediction.astype(bool)


def score_slices(
    rows: pd.DataFrame,
    references: Iterable[NDArray[np.generic]],
    predictions: Iterable[NDArray[np.generic] | None],
    tolerance_mm: float = TOLERANCE_MM,
) -> pd.DataFrame:
    """The table of slices.parquet: one row of `rows` each, with its scores.

    `rows` has the columns set, subject, stack, slice, spacing_y_mm, spacing_x_mm (as the slice
    table of a data set); `references` and `predictions` give a mask (h, w) of 0/1 or bool for each
    row in the same order. A prediction that is None or holds a NaN scores worst; DataError where
    there are more or fewer masks than rows.
    """
    scores = []
    spacings = zip(rows["spacing_y_mm"], rows["spacing_x_mm"], strict=True)
    try:
        for spacing_mm, reference, prediction in zip(
            spacings, references, predictions, strict=True
        ):
            mask = as_mask(reference)
            if mask is None:
                raise DataError("a reference mask holds values that are not finite")
            scores.append(asdict(slice_scores(mask, as_mask(prediction), spacing_mm, tolerance_mm)))
    except ValueError as error:
        raise DataError(f"each of the {len(rows)} slices needs one mask of each kind") from error
    kept = ["set", "subject", "stack", "slice", "spacing_y_mm", "spacing_x_mm"]
    keys = rows[kept].reset_index(drop=True)
    columns = list(SliceScores.__dataclass_fields__)
    table = pd.DataFrame(scores, columns=columns)
    fractions = [c for c in columns if c not in ("case", "brain_pixels", "predicted_pixels")]
    return pd.concat([keys, table.astype(dict.fromkeys(fractions, "float64"))], axis=1)
