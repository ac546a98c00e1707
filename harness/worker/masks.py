"""Masks from logits, for validation while training and for scoring, and their Dice."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backends.contract import Array
from backends.errors import require_logits


def arg_max_masks(
    logits: Callable[[Array], Array],
    images: Array,
    batch_size: int,
    classes: int,
    pulse: Callable[[], None] = lambda: None,
) -> Array:
    """Masks (n, h, w) uint8 of (n, h, w, 1) images: the class of the greatest logit.

    `pulse` is called after each batch. Raises `OutputError` if what the network returns is not
    finite logits of the images' shape.
    """
    parts = []
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        found = logits(batch)
        _, height, width, _ = batch.shape
        require_logits(found, (len(batch), height, width, classes))
        parts.append(found.argmax(axis=3).astype(np.uint8))
        pulse()
    return np.concatenate(parts)


def brain_dice(masks: Array, predicted: Array) -> float:
    """Mean brain Dice over the slices of (n, h, w) masks that hold brain."""
    truth, guess = masks.astype(bool), predicted.astype(bool)
    with_brain = truth.any(axis=(1, 2))
    both = (truth & guess).sum(axis=(1, 2))[with_brain]
    total = (truth.sum(axis=(1, 2)) + guess.sum(axis=(1, 2)))[with_brain]
    return float((2 * both / total).mean()) if len(both) else 0.0
