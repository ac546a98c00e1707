"""Masks from logits, for validation while training and for scoring."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backends.contract import Array


def arg_max_masks(logits: Callable[[Array], Array], images: Array, batch_size: int) -> Array:
    """Masks (n, h, w) uint8 of (n, h, w, 1) images: the class of the greatest logit."""
    parts = [
        logits(images[start : start + batch_size]).argmax(axis=3).astype(np.uint8)
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts)
