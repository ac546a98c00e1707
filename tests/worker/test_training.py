"""The training loop, on a network that is one number: schedule, best weights, stop, go on."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file, save

from backends.contract import Array, Network, Trainer, TrainingOptions, Weights, WeightSpec
from harness.jobs import events
from harness.protocol import TrainingSettings
from harness.worker.checkpoint import CheckpointFile, UnusableCheckpoint
from harness.worker.collapse import Diverged, fixed_mask_dice
from harness.worker.masks import brain_dice
from harness.worker.state import Stopped
from harness.worker.training import TrainingData, split_validation, train


class OneNumber(Trainer):
    """Adds the learning rate and the row number to its weight: every step leaves its trace."""

    def __init__(self, network: Any) -> None:
        self.network = network
        self.rates: list[float] = []
        self.orders: list[list[int]] = []
        self.count = 0
        self.pending: list[float] = []

    def set_data(self, images: Array, masks: Array) -> None:
        self.images, self.masks = images, masks

    def start_epoch(self, epoch: int) -> None:
        self.epoch = epoch

    def step(self, indices: Array, learning_rate: float) -> None:
        self.rates.append(learning_rate)
        self.orders.append(indices.tolist())
        self.count += 1
        self.network.value += np.float32(learning_rate * (1 + indices[0] + self.epoch))
        self.pending.append(self.network.loss)

    def losses(self) -> Array:
        losses, self.pending = np.array(self.pending, np.float32), []
        return losses

    def state(self) -> dict[str, Array]:
        return {"step": np.array(self.count)}

    def set_state(self, state: Weights) -> None:
        self.count = int(state["step"])


class FakeNetwork:
    """Predicts the brain by `answer(images)`, whatever its one weight says."""

    classes = 2

    def __init__(self, answer: Any, loss: float = 1.0) -> None:
        self.value, self.answer, self.loss = np.float32(0), answer, loss

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        return (WeightSpec(name="a.bias", shape=(1,), trainable=True),)

    def weights(self) -> dict[str, Array]:
        return {"a.bias": np.array([self.value], np.float32)}

    def set_weights(self, weights: Weights) -> None:
        self.value = weights["a.bias"][0]

    def trainer(self, options: TrainingOptions) -> Trainer:
        self.options = options
        self.made = OneNumber(self)
        return self.made

    def predict(self, images: Array) -> Array:
        brain = self.answer(self, images[..., 0])
        return np.stack([~brain, brain], axis=3).astype(np.float32)


def fake(answer: Any = lambda _, images: images > 0.5, loss: float = 1.0) -> Network:
    return cast(Network, FakeNetwork(answer, loss))


def data(slices: int = 10) -> TrainingData:
    masks = np.zeros((slices, 8, 8), np.uint8)
    masks[:, 2:5, 2:5] = 1
    images = masks[..., None].astype(np.float32)
    return TrainingData(
        images=images, masks=masks, validation_images=images, validation_masks=masks
    )


def checkpoints(folder: Path, **identity: str) -> CheckpointFile:
    return CheckpointFile(folder / "checkpoint.safetensors", {"code": "this"} | identity)


def test_the_learning_rate_falls_by_steps_not_by_epochs(tmp_path: Path) -> None:
    network = fake()
    settings = TrainingSettings(learning_rate=1.0, decay=0.5, decay_steps=3, epochs=4, batch_size=5)
    train(network, data(), settings, seed=0, checkpoints=checkpoints(tmp_path))
    assert cast(Any, network).made.rates == [1, 1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]


def test_each_epoch_visits_every_slice_once_in_another_order(tmp_path: Path) -> None:
    network = fake()
    train(
        network,
        data(),
        TrainingSettings(epochs=2, batch_size=5),
        seed=0,
        checkpoints=checkpoints(tmp_path),
    )
    orders = np.array(cast(Any, network).made.orders).reshape(2, 10)
    assert (np.sort(orders) == np.arange(10)).all()
    assert (orders[0] != orders[1]).any()


def test_the_best_weights_are_kept_not_the_last(tmp_path: Path) -> None:
    seen: list[float] = []

    def best_in_second_epoch(network: Any, images: Array) -> Array:
        seen.append(float(network.value))
        brain = images > 0.5
        if len(seen) % 3 != 2:
            brain[:, :3] = False
        return brain

    result = train(
        fake(best_in_second_epoch),
        data(),
        TrainingSettings(epochs=3, batch_size=10),
        seed=0,
        checkpoints=checkpoints(tmp_path),
    )
    assert result.best_epoch == 2
    assert result.best_validation_dice == 1.0
    assert result.weights["a.bias"][0] == np.float32(seen[1])


@pytest.mark.parametrize("everywhere", [False, True])
def test_one_class_everywhere_is_diverged_and_not_a_zero(tmp_path: Path, everywhere: bool) -> None:
    with pytest.raises(Diverged, match="one class everywhere on validation"):
        train(
            fake(lambda _, images: np.full(images.shape, everywhere)),
            data(),
            TrainingSettings(epochs=2, batch_size=5),
            seed=0,
            checkpoints=checkpoints(tmp_path),
        )


def wandering(slices: int = 10) -> TrainingData:
    """Brains at other places, so that one mask for all is a poor answer."""
    masks = np.zeros((slices, 16, 16), np.uint8)
    for index in range(slices):
        row, column = divmod(index, 4)
        masks[index, 5 * row : 5 * row + 4, 4 * column : 4 * column + 4] = 1
    images = masks[..., None].astype(np.float32)
    return TrainingData(
        images=images, masks=masks, validation_images=images, validation_masks=masks
    )


def by_epoch(answers: Any) -> Network:
    """A network whose validation in epoch i is `answers(i, images)`; one prediction an epoch."""
    epochs = iter(range(100))
    return fake(lambda _, images: answers(next(epochs), images))


def collapsing(folder: Path, before: Any, *, epochs: int = 6, collapse: int = 2) -> Any:
    """Train with `before(images)` as the answer up to `collapse`, then background for good."""

    def answer(epoch: int, images: Array) -> Array:
        return before(images) if epoch < collapse else np.zeros(images.shape, bool)

    settings = TrainingSettings(epochs=epochs, batch_size=10)
    return train(by_epoch(answer), wandering(), settings, seed=0, checkpoints=checkpoints(folder))


def noise(images: Array) -> Array:
    return np.random.default_rng(0).random(images.shape) > 0.5


def blob(images: Array) -> Array:
    """What a network learns that does not look: where brains are, on the whole."""
    brain = np.zeros(images.shape, bool)
    brain[:, :10] = True
    return brain


@pytest.mark.parametrize("before", [noise, blob])
def test_a_collapse_after_epochs_that_learnt_nothing_is_diverged(
    tmp_path: Path, before: Any
) -> None:
    with pytest.raises(Diverged, match="one class everywhere on validation") as caught:
        collapsing(tmp_path, before)
    assert "since epoch 3; its best Dice before" in str(caught.value)
    assert "no better than" in str(caught.value)


def test_a_collapse_after_a_good_epoch_keeps_its_weights_with_a_note(tmp_path: Path) -> None:
    result = collapsing(tmp_path, lambda images: images > 0.5)
    assert result.best_validation_dice == 1.0
    assert result.best_epoch == 1
    assert "from epoch 3 to the last" in result.note
    assert "those of epoch 1" in result.note


def test_a_diverged_training_is_diverged_again_without_a_step(tmp_path: Path) -> None:
    with pytest.raises(Diverged) as first:
        collapsing(tmp_path, noise)
    network = fake()
    with pytest.raises(Diverged) as again:
        train(
            network,
            wandering(),
            TrainingSettings(epochs=6, batch_size=10),
            seed=0,
            checkpoints=checkpoints(tmp_path),
        )
    assert str(again.value) == str(first.value)
    assert cast(Any, network).made.count == 0


def test_a_training_that_rises_again_has_not_collapsed(tmp_path: Path) -> None:
    def answer(epoch: int, images: Array) -> Array:
        return images > 0.5 if epoch != 1 else np.zeros(images.shape, bool)

    settings = TrainingSettings(epochs=3, batch_size=10)
    result = train(
        by_epoch(answer), wandering(), settings, seed=0, checkpoints=checkpoints(tmp_path)
    )
    assert result.note == ""


def test_no_answer_without_the_images_beats_the_fixed_mask() -> None:
    masks = wandering().masks
    floor = fixed_mask_dice(masks)
    for guess in (noise(masks), blob(masks), np.ones(masks.shape, bool)):
        assert brain_dice(masks, guess) <= floor
    assert floor < 0.5
    assert fixed_mask_dice(np.zeros((3, 4, 4), np.uint8)) == 0.0


def test_a_loss_that_is_not_finite_is_diverged(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match="the loss is not finite at step 0 of epoch 1"):
        train(
            fake(loss=float("nan")),
            data(),
            TrainingSettings(epochs=2, batch_size=5),
            seed=0,
            checkpoints=checkpoints(tmp_path),
        )


def stop_after(epoch: int) -> Any:
    def report(event: events.Event) -> None:
        if isinstance(event, events.EpochDone) and event.epoch == epoch:
            signal.raise_signal(signal.SIGINT)

    return report


@pytest.mark.alone  # interrupts its own process
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=5, batch_size=3, decay_steps=4)
    whole = train(fake(), data(), settings, seed=1, checkpoints=checkpoints(tmp_path / "whole"))
    first = checkpoints(tmp_path / "parts")
    with pytest.raises(Stopped):
        train(fake(), data(), settings, seed=1, checkpoints=first, report=stop_after(2))
    resumed = train(fake(), data(), settings, seed=1, checkpoints=checkpoints(tmp_path / "parts"))
    assert resumed.resumed_from_epoch >= 2
    assert resumed.weights["a.bias"][0] == whole.weights["a.bias"][0]
    assert resumed.steps == whole.steps
    columns = ["epoch", "learning_rate", "train_loss", "validation_dice"]
    pd.testing.assert_frame_equal(resumed.history[columns], whole.history[columns])


def test_an_epoch_survives_a_parent_that_is_gone(tmp_path: Path) -> None:
    """The pipe breaks when the epoch is reported; the time since the last checkpoint is short."""

    def report(event: events.Event) -> None:
        if isinstance(event, events.EpochDone) and event.epoch == 2:
            raise Stopped

    settings = TrainingSettings(epochs=5, batch_size=5)
    file = checkpoints(tmp_path)
    file.due = lambda: False
    with pytest.raises(Stopped):
        train(fake(), data(), settings, seed=1, checkpoints=file, report=report)
    resumed = train(fake(), data(), settings, seed=1, checkpoints=checkpoints(tmp_path))
    assert resumed.resumed_from_epoch == 2


def stopped(folder: Path) -> None:
    with pytest.raises(Stopped):
        train(
            fake(),
            data(),
            TrainingSettings(epochs=3, batch_size=5),
            seed=1,
            checkpoints=checkpoints(folder),
            report=stop_after(1),
        )


def started_again(folder: Path, **identity: str) -> str:
    """Train where a checkpoint is that cannot be resumed; return what is said about it."""
    said: list[events.Event] = []
    result = train(
        fake(),
        data(),
        TrainingSettings(epochs=3, batch_size=5),
        seed=1,
        checkpoints=checkpoints(folder, **identity),
        report=said.append,
    )
    assert result.resumed_from_epoch == 0
    assert result.steps == 6
    (restart,) = [event for event in said if isinstance(event, events.TrainingRestarted)]
    assert restart is said[0]
    return restart.reason


@pytest.mark.alone  # interrupts its own process
@pytest.mark.parametrize(
    ("identity", "words"),
    [
        ({"code": "other"}, "was written by other code: training starts from the beginning"),
        (
            {"device": "cuda", "threads": "4"},
            "was written on another device, with another number of threads",
        ),
    ],
)
def test_another_trainings_checkpoint_is_not_taken_and_the_user_is_told(
    tmp_path: Path, identity: dict[str, str], words: str
) -> None:
    stopped(tmp_path)
    assert words in started_again(tmp_path, **identity)


def test_a_checkpoint_from_before_the_rooms_is_said_in_one_line(tmp_path: Path) -> None:
    """Its identity was one string; neither a traceback nor silence comes of it."""
    weights = {"weights/a.bias": np.ones(1, np.float32)}
    state = {"identity": '[{"network": "unet"}, "cpu", 0, []]', "epoch": 1, "history": []}
    content = save(weights, metadata={"state": json.dumps(state)})
    (tmp_path / "checkpoint.safetensors").write_bytes(content)
    assert "written by an older version of fetalbench" in started_again(tmp_path)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    settings = TrainingSettings(epochs=3, batch_size=5)
    first = train(fake(), data(), settings, seed=1, checkpoints=checkpoints(tmp_path))
    # Evaluating or measuring was interrupted, and the cell is started again.
    network = fake()
    again = train(network, data(), settings, seed=1, checkpoints=checkpoints(tmp_path))
    assert cast(Any, network).made.count == 0
    assert again.resumed_from_epoch == 3
    assert again.weights["a.bias"] == first.weights["a.bias"] == cast(Any, network).value
    pd.testing.assert_frame_equal(again.history, first.history)


def test_a_finished_training_keeps_no_optimizer(tmp_path: Path) -> None:
    file = checkpoints(tmp_path)
    train(fake(), data(), TrainingSettings(epochs=2, batch_size=5), seed=1, checkpoints=file)
    assert set(load_file(file.path)) == {"best/a.bias"}


@pytest.mark.parametrize(
    "content",
    [
        b"\x00" * 20,
        save({"weights/a.bias": np.zeros(1, np.float32)}),
        save({"weights/a.bias": np.zeros(1, np.float32)}, metadata={"state": "[]"}),
        save({"a": np.zeros(1, np.float32)}, metadata={"state": '{"identity": {"code": "this"}}'}),
    ],
    ids=["no safetensors", "no metadata", "no object", "no numbers"],
)
def test_a_damaged_checkpoint_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "checkpoint.safetensors").write_bytes(content)
    reason = started_again(tmp_path)
    assert reason == "the checkpoint is damaged: training starts from the beginning"


def rows(subjects: int, stacks: int = 2, slices: int = 6) -> pd.DataFrame:
    return pd.DataFrame(
        [
            {"subject": f"s{s}", "stack": f"s{s}r{r}", "slice": i}
            for s in range(subjects)
            for r in range(stacks)
            for i in range(slices)
        ]
    )


def test_validation_is_split_by_subject() -> None:
    table = rows(10)
    chosen, note = split_validation(table, TrainingSettings(), seed=3)
    assert note == ""
    assert table[chosen]["subject"].nunique() == 2
    assert not set(table[chosen]["subject"]) & set(table[~chosen]["subject"])
    again, _ = split_validation(table, TrainingSettings(), seed=3)
    assert (again == chosen).all()


def test_one_subject_alone_is_split_by_slice_and_says_so() -> None:
    table = rows(1)
    chosen, note = split_validation(table, TrainingSettings(), seed=3)
    assert 0 < chosen.sum() < len(table) / 2
    assert "optimistic" in note


def test_brain_dice_is_over_slices_with_brain() -> None:
    masks = np.zeros((3, 2, 2), np.uint8)
    masks[0, 0] = 1
    masks[1, 0] = 1
    predicted = np.zeros_like(masks)
    predicted[0, 0] = 1
    predicted[2] = 1
    assert brain_dice(masks, predicted) == 0.5


def test_windows_train_the_learner_and_the_whole_slices_judge(tmp_path: Path) -> None:
    network, learner = fake(), fake()
    settings = TrainingSettings(epochs=2, batch_size=5, window=4)
    result = train(
        network,
        data(),
        settings,
        seed=0,
        checkpoints=checkpoints(tmp_path),
        learner=learner,
    )
    assert cast(Any, learner).made.images.shape == (10, 4, 4, 1)
    assert cast(Any, learner).made.masks.any()
    assert not hasattr(network, "made")
    assert result.best_validation_dice == 1.0
    assert cast(Any, network).value == result.weights["a.bias"][0] != 0


def test_a_checkpoint_with_a_flipped_bit_is_not_resumed(tmp_path: Path) -> None:
    """It would train on from other weights and end as ok."""
    network = fake()
    settings = TrainingSettings(epochs=2, batch_size=5)
    train(network, data(), settings, seed=0, checkpoints=checkpoints(tmp_path))
    path = tmp_path / "checkpoint.safetensors"
    content = bytearray(path.read_bytes())
    content[-2] ^= 1  # a bit of the last weight's fraction
    path.write_bytes(content)
    with pytest.raises(UnusableCheckpoint, match="is damaged"):
        checkpoints(tmp_path).load(network)
