"""Trainings that predict one class everywhere: which have failed, and which have only ended so."""

from __future__ import annotations

import numpy as np

from backends.contract import Array
from harness.protocol import TrainingSettings
from harness.worker.checkpoint import Checkpoint
from harness.worker.masks import brain_dice

# Shares of the slices that hold brain at a pixel, from which one mask laid over all is drawn.
FIXED_MASK_SHARES = np.linspace(0, 0.9, 10)


class Diverged(Exception):
    """Training found no usable weights; the text is the sentence for the record."""


def judge_collapse(state: Checkpoint, settings: TrainingSettings, validation_masks: Array) -> str:
    """A note for the record, or "" if the last epoch predicts both classes on validation.

    Raises `Diverged` if it predicts one class everywhere and no epoch before it was any good,
    that is, better than one mask laid over all slices. A collapse after a good epoch costs nothing:
    the weights of that epoch are the protocol's.
    """
    if not state.one_class_since:
        return ""
    floor = fixed_mask_dice(validation_masks)
    if state.best_dice > floor:
        return (
            f"the training collapsed: it predicts one class everywhere on validation from epoch "
            f"{state.one_class_since} to the last; the weights are those of epoch "
            f"{state.best_epoch}, before that"
        )
    before = ""
    if not state.best_one_class:
        before = (
            f" (it has since epoch {state.one_class_since}; its best Dice before, "
            f"{state.best_dice:.2f}, is no better than the {floor:.2f} of one mask laid over all "
            "slices)"
        )
    raise Diverged(
        f"predicts one class everywhere on validation after {settings.epochs} epochs of "
        f"{settings.loss!r} at learning rate {settings.learning_rate:g}{before}: "
        f"{_remedy(settings)}."
    )


def _remedy(settings: TrainingSettings) -> str:
    if settings.loss == "dice":
        return "try the loss 'dice_ce'"
    return "train longer, or try another learning rate"


def fixed_mask_dice(masks: Array) -> float:
    """The best brain Dice that one mask, laid over all slices of (n, h, w) masks, can have.

    Whoever ignores the images cannot do better: neither brain everywhere, nor noise, nor a blob in
    the middle of the field of view.
    """
    with_brain = masks[masks.any(axis=(1, 2))].astype(bool)
    if not len(with_brain):
        return 0.0
    share = with_brain.mean(axis=0)
    fixed = [np.broadcast_to(share >= least, with_brain.shape) for least in FIXED_MASK_SHARES]
    return max(brain_dice(with_brain, mask) for mask in fixed)
