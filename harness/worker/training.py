"""Training one network: the schedule, the split, the best weights, and resuming after a stop.

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
from harness.jobs import events
from harness.jobs.events import Report
from harness.protocol import TrainingSettings
from harness.worker.checkpoint import Checkpoint, CheckpointFile, UnusableCheckpoint
from harness.worker.collapse import Diverged, judge_collapse
from harness.worker.masks import arg_max_masks, brain_dice
from harness.worker.parent import PARENT
from harness.worker.pulse import Pulse
from harness.worker.state import Stopped

# Enough for stable means, and a tenth of an epoch's cost.
RECALIBRATION_SLICES = 128


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

    `note` is a sentence for the record if the training collapsed after its best epoch.
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
        PARENT.saving(True)
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        PARENT.saving(False)
        for number, handler in self._old.items():
            signal.signal(number, handler)

    def _note(self, _number: int, _frame: FrameType | None) -> None:
        self.asked = True


def split_validation(
    rows: pd.DataFrame, settings: TrainingSettings, seed: int
) -> tuple[pd.Series, str]:
    """Which training rows are for validation (boolean), and a note if it is not by subject.

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


def train(
    network: Network,
    data: TrainingData,
    settings: TrainingSettings,
    *,
    seed: int,
    checkpoints: CheckpointFile,
    report: Report = lambda _: None,
    learner: Network | None = None,
) -> TrainingResult:
    """Train to the protocol and return the best weights; resume from a checkpoint if there is one.

    `learner` is the same network at the size of the protocol's windows, if it trains on windows.
    Raises `Diverged` for a loss that is not finite or a collapse (`judge_collapse`), and `Stopped`
    after an interruption. The checkpoint is written then, and at the end: what follows training may
    fail or be interrupted, too.
    """
    state = _resumed(network, checkpoints, report)
    loop = _Loop(network, learner or network, data, settings, seed, state, Pulse(report))
    resumed = state.epoch
    with StopRequest() as stop:
        while state.epoch < settings.epochs:
            done = loop.run_epoch()
            try:
                report(done)
            except Stopped:
                # The parent is gone: its last epoch is worth keeping all the same.
                stop.asked = True
            if state.epoch == settings.epochs:
                state.weights, state.optimizer = {}, {}
                checkpoints.save(state)
            elif stop.asked or checkpoints.due():
                state.weights, state.optimizer = network.weights(), loop.trainer.state()
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


def _resumed(network: Network, checkpoints: CheckpointFile, report: Report) -> Checkpoint:
    """The state to train on from: that of the checkpoint, or the network as it is."""
    try:
        found = checkpoints.load(network)
    except UnusableCheckpoint as error:
        report(events.TrainingRestarted(reason=str(error)))
        found = None
    return found or Checkpoint(weights=network.weights())


class _Loop:
    """Trains epoch by epoch, from the state on.

    The `learner` takes the steps; it is the network itself, or the same at the size of windows,
    whose weights the network is given after each epoch.
    """

    def __init__(
        self,
        network: Network,
        learner: Network,
        data: TrainingData,
        settings: TrainingSettings,
        seed: int,
        state: Checkpoint,
        pulse: Callable[[], None],
    ) -> None:
        self.state, self._pulse = state, pulse
        self._network, self._data, self._settings, self._seed = network, data, settings, seed
        self._learner, self._batch = learner, min(settings.batch_size, len(data.images))
        resumes = 0 < state.epoch < settings.epochs
        if resumes:
            network.set_weights(state.weights)
        if learner is not network:
            learner.set_weights(network.weights())
        self.trainer = learner.trainer(
            TrainingOptions(
                loss=settings.loss,
                seed=seed,
                batch_size=self._batch,
                precision=settings.precision,
            )
        )
        if resumes:
            self.trainer.set_state(state.optimizer)
        self._changes = settings.augmentation != "none" or settings.window > 0
        if not self._changes:
            self.trainer.set_data(data.images, data.masks)

    def run_epoch(self) -> events.EpochDone:
        """Train and validate once, and note it in the state. Raises `Diverged`."""
        state, network = self.state, self._network
        start = time.perf_counter()
        losses, rate = self._train()
        if self._learner is not network:
            network.set_weights(self._learner.weights())
        if self._settings.batch_norm == "recalibrated":
            self._recalibrate()
        seconds = time.perf_counter() - start
        dice, one_class = self._validate()
        done = events.EpochDone(
            epoch=state.epoch + 1,
            epochs=self._settings.epochs,
            learning_rate=rate,
            train_loss=float(losses.mean()),
            validation_dice=dice,
            seconds=seconds,
        )
        row = done.model_dump(exclude={"event", "epochs"})
        state.add_epoch(row | {"images": len(losses) * self._batch}, one_class=one_class)
        if dice > state.best_dice or (state.best_one_class and not one_class):
            state.keep_best(network.weights(), dice, one_class=one_class)
        return done

    def _train(self) -> tuple[Array, float]:
        """One pass over the shuffled slices; an incomplete last batch waits for the next shuffle.

        Returns the losses (steps,) and the last learning rate.
        """
        settings, state, epoch = self._settings, self.state, self.state.epoch
        if self._changes:
            self.trainer.set_data(*self._shown())
        order = self._order()
        self.trainer.start_epoch(epoch)
        rate = settings.learning_rate
        steps = len(order) // self._batch
        batches = order[: steps * self._batch].reshape(steps, self._batch)
        for rows in self.trainer.place(batches):
            rate = settings.learning_rate * settings.decay ** (state.step // settings.decay_steps)
            self.trainer.step(rows, rate)
            state.step += 1
            self._pulse()
        losses = self.trainer.losses()
        if not np.isfinite(losses).all():
            bad = int(np.flatnonzero(~np.isfinite(losses))[0])
            raise Diverged(
                f"the loss is not finite at step {bad} of epoch {epoch + 1}: lower the learning "
                f"rate ({settings.learning_rate:g})."
            )
        return losses, rate

    def _shown(self) -> tuple[Array, Array]:
        """What the learner sees of the training slices in this epoch."""
        settings, seed, epoch = self._settings, self._seed, self.state.epoch
        images, masks = augment(
            self._data.images,
            self._data.masks,
            level=settings.augmentation,
            strengths=settings.strengths,
            seed=seed,
            epoch=epoch,
        )
        if settings.window:
            return cut_windows(images, masks, settings.window, seed=seed, epoch=epoch)
        return images, masks

    def _order(self) -> Array:
        """The training slices in this epoch's order."""
        random = np.random.default_rng([self._seed, self.state.epoch])
        return random.permutation(len(self._data.images))

    def _recalibrate(self) -> None:
        """Running statistics from some of the training slices, before the weights are judged."""
        chosen = self._order()[: max(self._batch, RECALIBRATION_SLICES)]
        self._network.recalibrate(self._data.images[chosen], self._batch)

    def _validate(self) -> tuple[float, bool]:
        """Brain Dice on the validation slices, and whether one class is predicted everywhere."""
        images, masks = self._data.validation_images, self._data.validation_masks
        network = self._network
        predicted = arg_max_masks(
            network.predict, images, self._batch, network.classes, self._pulse
        )
        return brain_dice(masks, predicted), bool((predicted == predicted.flat[0]).all())
