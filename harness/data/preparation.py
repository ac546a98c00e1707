"""From rows of the slice table to the arrays that a network is trained on and asked about."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.data.catalogue import Dataset
from harness.data.fitting import FitMode, fit_masks, step_of
from harness.data.fitting import fit as fit_images
from harness.data.normalisation import Normalisation, normalise

# What needs all slices at once; the others are done stack by stack.
WHOLE_ARRAY = "per_pixel_std"


def prepare(
    dataset: Dataset,
    rows: pd.DataFrame,
    *,
    height: int,
    width: int,
    fit: FitMode,
    normalisation: Normalisation,
    pixel_mm: float | None = None,
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Read, fit and normalise the slices of `rows`, in their order.

    Returns images (n, height, width, 1) float32 and masks (n, height, width) uint8 of 0 and 1.
    `pixel_mm` is the size of a pixel that `fit="resample"` makes. Slices are fitted first and
    normalised on the network's grid, one at a time unless the normalisation itself looks at all of
    them. Raises `DataError` and `UsageError`.
    """
    images = np.empty((len(rows), height, width), dtype=np.float32)
    masks = np.empty((len(rows), height, width), dtype=np.uint8)
    stacks = rows["stack"].to_numpy()
    indices = rows["slice"].to_numpy()
    for stack in pd.unique(stacks):
        places = np.flatnonzero(stacks == stack)
        taken = indices[places]
        first = rows.iloc[int(places[0])]
        step = step_of(fit, (first["spacing_y_mm"], first["spacing_x_mm"]), pixel_mm)
        fitted = fit_images(dataset.images(stack)[taken], height, width, fit, step)
        # Stack by stack keeps the memory at the arrays' own size.
        images[places] = (
            fitted if normalisation == WHOLE_ARRAY else normalise(fitted, normalisation)
        )
        masks[places] = fit_masks(dataset.masks(stack)[taken], height, width, fit, step)
    if normalisation == WHOLE_ARRAY:
        images = normalise(images, normalisation)
    return images[..., None], masks
