"""Otsu's threshold (1979) and the largest connected component, in NumPy."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy import ndimage

from backends.contract import Array

BINS = 64
# The brain is nearly always prescribed into the middle of the field of view.
CENTRAL_SHARE = 0.75


def build(*, classes: int = 2, height: int = 256, width: int = 256) -> Callable[[Array], Array]:
    """A function from (n, height, width, 1) float32 to (n, height, width, classes) logits."""
    rows, columns = _central(height), _central(width)

    def forward(images: Array) -> Array:
        logits = np.full((*images.shape[:3], classes), -1, np.float32)
        logits[..., 0] = 1
        for index, image in enumerate(images[..., 0]):
            middle = image[rows, columns]
            brain = largest_component(middle > otsu(middle))
            logits[index, rows, columns, 0] = np.where(brain, -1, 1)
            logits[index, rows, columns, 1] = np.where(brain, 1, -1)
        return logits

    return forward


def _central(size: int) -> slice:
    margin = round(size * (1 - CENTRAL_SHARE) / 2)
    return slice(margin, size - margin)


def otsu(image: Array) -> float:
    """The grey value that parts (h, w) `image` into two classes of greatest variance between."""
    counts, edges = np.histogram(image, bins=BINS)
    centres = (edges[:-1] + edges[1:]) / 2
    below = np.cumsum(counts)
    above = below[-1] - below
    total = np.cumsum(counts * centres)
    with np.errstate(divide="ignore", invalid="ignore"):
        gap = total / below - (total[-1] - total) / above
        between = below * above * gap**2
    parting = np.where(above > 0, between, np.nan)
    if np.isnan(parting).all():  # one value everywhere: nothing is above it
        return float(image.max())
    return float(edges[1:][np.nanargmax(parting)])


def largest_component(mask: Array) -> Array:
    """The largest 4-connected component of a boolean (h, w) mask; empty stays empty."""
    labels, count = ndimage.label(mask)
    if not count:
        return mask
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    return labels == sizes.argmax()
