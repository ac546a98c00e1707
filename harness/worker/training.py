"""Training one network: the schedule, the split, the best weights, and going on after a stop.

The same loop for every framework; a framework only does `Trainer.step`.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import pandas as pd

from backends.contract import Array, Network, TrainingOptions
from harness.data.augmentation import augment
from harness.data.windows import cut_windows
from harness.protocol import Training
from harness.worker.checkpoint import Checkpoint, CheckpointFile
from harness.worker.masks import arg_max_masks

# Enough for stable means, and a tenth of an epoch's cost.
RECALIBRATION_SLICES = 128
# Shares of the slices that hold brain at a pixel, from which one mask laid over all is drawn.
FIXED_MASK_SHARES = np.linspace(0, 0.9, 10)
Report = Callable[[dict[str, Any]], None]


class Diverged(Exception):
    """Training found no usable weights; the text is the sentence for the record."""


class Stopped(Exception):
    """The user interrupted; the checkpoint is written."""


@dataclass(kw_only=True)
class TrainingData:
    """Fitted, normalised slices: (n, h, w, 1) float32 images and (n, h, w) uint8 masks."""

    images: Array
    masks: Array
    validation_images: Array
    validation_masks: Array


@dataclass(kw_only=True)
class TrainingResult:
    """The best weights by validation Dice, and how they came about.

    `note` is a sentence for the record where the training collapsed after its best epoch.
    """

    weights: dict[str, Array]
    best_epoch: int
    best_validation_dice: float
    steps: int
    seconds: float
    images_per_second: float | None
    resumed_from_epoch: int
    history: pd.DataFrame
    note: str = ""


@dataclass
class StopRequest:
    """Turns SIGINT and SIGTERM into a wish that the loop grants at the next epoch's end."""

    asked: bool = False
    _old: dict[int, Any] = field(default_factory=dict)

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def split_validation(rows: pd.DataFrame, settings: Training, seed: int) -> tuple[pd.Series, str]:
    """Which training rows are for validation (boolean), and a note where it is not by subject.

    By subject: a seeded share of the subjects, at least one and never all. By slice: every k-th
    slice of each stack. One subject alone can only be split by slice.
    """
    subjects = sorted(rows["subject"].unique())
    if settings.validation_by == "subject" and len(subjects) > 1:
        count = min(max(1, round(settings.validation_share * len(subjects))), len(subjects) - 1)
        chosen = np.random.default_rng(seed).permutation(subjects)[:count]
        return rows["subject"].isin(chosen), ""
    every = max(2, round(1 / settings.validation_share))
    place = rows.groupby("stack").cumcount()
    return place % every == every // 2, (
        f"validation uses every {every}th slice of the training stacks: its Dice is optimistic "
        "(neighbouring slices of the same anatomy), the test sets' is not affected"
    )


def brain_dice(masks: Array, predicted: Array) -> float:
    """Mean brain Dice over the slices of (n, h, w) masks that hold brain."""
    truth, guess = masks.astype(bool), predicted.astype(bool)
    with_brain = truth.any(axis=(1, 2))
    both = (truth & guess).sum(axis=(1, 2))[with_brain]
    total = (truth.sum(axis=(1, 2)) + guess.sum(axis=(1, 2)))[with_brain]
    return float((2 * both / total).mean()) if len(both) else 0.0


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


def train(
    network: Network,
    data: TrainingData,
    settings: Training,
    *,
    seed: int,
    checkpoints: CheckpointFile,
    report: Report = lambda _: None,
    learner: Network | None = None,
) -> TrainingResult:
    """Train to the protocol and return the best weights; goes on from a checkpoint if there is one.

    `learner` is the same network at the size of the protocol's windows, if it trains on windows.
    Raises `Diverged` for a loss that is not finite or a collapse (`judge_collapse`), and `Stopped`
    after an interruption. The checkpoint is written then, and at the end: what follows training may
    fail or be interrupted, too.
    """
    batch = min(settings.batch_size, len(data.images))
    options = TrainingOptions(loss=settings.loss, seed=seed, batch_size=batch)
    state = checkpoints.load(network) or Checkpoint(weights=network.weights())
    going_on = 0 < state.epoch < settings.epochs
    if going_on:
        network.set_weights(state.weights)
    learner = learner or network
    if learner is not network:
        learner.set_weights(network.weights())
    trainer = learner.trainer(options)
    if going_on:
        trainer.set_state(state.optimizer)
    resumed = state.epoch
    changing = settings.augmentation != "none" or settings.window > 0
    if not changing:
        trainer.set_data(data.images, data.masks)
    with StopRequest() as stop:
        for epoch in range(state.epoch, settings.epochs):
            start = time.perf_counter()
            if changing:
                trainer.set_data(*_shown(data, settings, seed, epoch))
            losses, rate = _epoch(trainer, len(data.images), batch, settings, seed, epoch, state)
            if learner is not network:
                network.set_weights(learner.weights())
            if settings.batch_norm == "recalibrated":
                _recalibrate(network, data, batch, seed, epoch)
            trained = time.perf_counter() - start
            dice, one_class = _validate(network, data, batch)
            state.add_epoch(
                epoch=epoch,
                one_class=one_class,
                learning_rate=rate,
                train_loss=float(losses.mean()),
                validation_dice=dice,
                seconds=trained,
                images=len(losses) * batch,
            )
            if dice > state.best_dice or (state.best_one_class and not one_class):
                state.keep_best(network.weights(), dice, one_class=one_class)
            report({"event": "epoch", "epoch": epoch + 1, "epochs": settings.epochs} | state.last)
            if state.epoch == settings.epochs:
                state.weights, state.optimizer = {}, {}
                checkpoints.save(state)
            elif stop.asked or checkpoints.due():
                state.weights, state.optimizer = network.weights(), trainer.state()
                checkpoints.save(state)
            if stop.asked:
                raise Stopped
    note = judge_collapse(state, settings, data.validation_masks)
    network.set_weights(state.best)
    return TrainingResult(
        weights=dict(state.best),
        best_epoch=state.best_epoch,
        best_validation_dice=state.best_dice,
        steps=state.step,
        seconds=float(sum(row["seconds"] for row in state.history)),
        images_per_second=state.images_per_second(),
        resumed_from_epoch=resumed,
        history=state.history_table(),
        note=note,
    )


def judge_collapse(state: Checkpoint, settings: Training, validation_masks: Array) -> str:
    """A note for the record, or "" where the last epoch predicts both classes on validation.

    Raises `Diverged` where it predicts one class everywhere and no epoch before it was any good,
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


def _remedy(settings: Training) -> str:
    if settings.loss == "dice":
        return "try the loss 'dice_ce'"
    return "train longer, or try another learning rate"


def _epoch(
    trainer: Any,
    slices: int,
    batch: int,
    settings: Training,
    seed: int,
    epoch: int,
    state: Checkpoint,
) -> tuple[Array, float]:
    """One pass over the shuffled slices; an incomplete last batch is left for the next shuffle."""
    order = np.random.default_rng([seed, epoch]).permutation(slices)
    trainer.start_epoch(epoch)
    rate = settings.learning_rate
    for start in range(0, slices - batch + 1, batch):
        rate = settings.learning_rate * settings.decay ** (state.step // settings.decay_steps)
        trainer.step(order[start : start + batch], rate)
        state.step += 1
    losses = trainer.losses()
    if not np.isfinite(losses).all():
        bad = int(np.flatnonzero(~np.isfinite(losses))[0])
        raise Diverged(
            f"the loss is not finite at step {bad} of epoch {epoch + 1}: lower the learning rate "
            f"({settings.learning_rate:g})."
        )
    return losses, rate


def _shown(data: TrainingData, settings: Training, seed: int, epoch: int) -> tuple[Array, Array]:
    """What the network sees of the training slices in an epoch."""
    images, masks = augment(
        data.images,
        data.masks,
        level=settings.augmentation,
        strengths=settings.strengths,
        seed=seed,
        epoch=epoch,
    )
    if settings.window:
        return cut_windows(images, masks, settings.window, seed=seed, epoch=epoch)
    return images, masks


def _recalibrate(network: Network, data: TrainingData, batch: int, seed: int, epoch: int) -> None:
    """Running statistics from some of the training slices, before the weights are judged."""
    order = np.random.default_rng([seed, epoch]).permutation(len(data.images))
    chosen = order[: max(batch, RECALIBRATION_SLICES)]
    network.recalibrate(data.images[chosen], batch)


def _validate(network: Network, data: TrainingData, batch: int) -> tuple[float, bool]:
    predicted = arg_max_masks(network.predict, data.validation_images, batch)
    one_class = bool((predicted == predicted.flat[0]).all())
    return brain_dice(data.validation_masks, predicted), one_class
