"""Windows of slices: smaller arrays to train on, several times as many steps in the same time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Of the slices with brain, how many windows lie around it; the others lie anywhere.
AROUND_BRAIN = 0.75
# How far the brain's middle may lie from the window's, as a share of the window.
OFFSET = 0.4


def cut_windows(
    images: NDArray[np.float32], masks: NDArray[np.uint8], size: int, *, seed: int, epoch: int
) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """One window of each slice: (n, h, w, 1) and (n, h, w) → (n, size, size, 1), (n, size, size).

    Most windows of slices with brain show some of it, wherever in the window; so no network learns
    that brains lie in the middle. The same seed and epoch give the same windows.
    """
    rng = np.random.default_rng([seed, epoch, size])
    count, height, width = masks.shape
    cut = np.empty((count, size, size, 1), dtype=np.float32)
    cut_masks = np.empty((count, size, size), dtype=np.uint8)
    for index, (image, mask) in enumerate(zip(images, masks, strict=True)):
        corner = rng.uniform(0, 1, 2) * (height - size, width - size)
        offset = rng.uniform(-OFFSET, OFFSET, 2) * size
        if rng.random() < AROUND_BRAIN and mask.any():
            middle = np.array([places.mean() for places in np.nonzero(mask)])
            corner = middle + offset - size / 2
        top, left = np.clip(corner, 0, (height - size, width - size)).astype(int)
        cut[index] = image[top : top + size, left : left + size]
        cut_masks[index] = mask[top : top + size, left : left + size]
    return cut, cut_masks
