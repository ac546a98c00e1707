"""Training in Keras on TensorFlow: the formulas of the contract, repeatability, resuming."""

from __future__ import annotations

from typing import Literal

import keras
import numpy as np
import pytest

from backends.contract import (
    Network,
    Runtime,
    Trainer,
    TrainingOptions,
)
from backends.errors import SizeError, WeightsError
from backends.keras_backend import KerasBackend
from backends.keras_layers import conv, dropout, image_input, norm, relu
from backends.weights import initial_values
from harness import registry
from tests.contract import references

SIDE = 64
Data = tuple[np.ndarray, np.ndarray]


def _tiny(*, classes: int, height: int, width: int) -> keras.Model:
    image = image_input(height, width)
    x = relu(norm(conv(image, "conv", 4, 3), "norm", 0.5))
    return keras.Model(image, conv(dropout(x, 0.5), "head", classes))


def _two_norms(*, classes: int, height: int, width: int) -> keras.Model:
    x = image = image_input(height, width)
    for name, (_, outputs) in references.WIDTHS.items():
        x = dropout(relu(norm(conv(x, name, outputs), f"{name}_norm")), 0.5)
    return keras.Model(image, conv(x, "head", classes))


def _network(name: str = "", classes: int = 2) -> Network:
    backend = KerasBackend(Runtime(threads=1))
    builder = registry.load_builder(registry.network(name), "keras") if name else _tiny
    network = backend.build(builder, classes=classes, height=SIDE, width=SIDE)
    network.set_weights(initial_values(network.weight_specs(), 5))
    return network


@pytest.fixture(scope="module")
def data() -> Data:
    images = np.random.default_rng(2).standard_normal((6, SIDE, SIDE, 1)).astype(np.float32)
    return images, (images[..., 0] > 0.5).astype(np.uint8)


def _options(
    loss: Literal["dice", "dice_ce"] = "dice_ce", *, dropout: bool = True, seed: int = 3
) -> TrainingOptions:
    return TrainingOptions(loss=loss, seed=seed, batch_size=2, dropout=dropout)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", ["dice", "dice_ce"])
def test_losses_are_those_of_the_contract(
    data: Data, loss: Literal["dice", "dice_ce"], classes: int
) -> None:
    network = _network("rfbsnet", classes)
    trainer = network.trainer(_options(loss, dropout=False))
    trainer.set_data(*data)
    rows = np.array([4, 1])
    expected = references.loss(network.predict(data[0][rows]), data[1][rows], loss)
    trainer.step(rows, 0.0)
    trainer.step(rows, 0.0)
    losses = trainer.losses()
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses, [expected, expected], rtol=1e-5)
    assert trainer.losses().size == 0


def test_adam_is_that_of_the_contract(data: Data) -> None:
    network = _network()
    trainer = network.trainer(_options(dropout=False))
    trainer.set_data(*data)
    expected = {k: v.astype(np.float64) for k, v in network.weights().items()}
    m = {name: np.zeros_like(value) for name, value in expected.items()}
    v = dict(m)
    for step, rate in enumerate((1e-2, 5e-3, 1e-2), start=1):
        rows = np.array([step - 1, step])
        gradients = network.gradients(data[0][rows], data[1][rows], "dice_ce")
        for name, gradient in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * gradient
            v[name] = 0.999 * v[name] + 0.001 * gradient.astype(np.float64) ** 2
            scaled = np.sqrt(v[name] / (1 - 0.999**step)) + 1e-7
            expected[name] -= rate * (m[name] / (1 - 0.9**step)) / scaled
        trainer.step(rows, rate)
        after = network.weights()
        for name in gradients:
            # A bias before a normalisation has a gradient of rounding errors only.
            if name != "conv.bias":
                np.testing.assert_allclose(after[name], expected[name], atol=2e-6, err_msg=name)
            expected[name] = after[name].astype(np.float64)
    state = trainer.state()
    assert state["step"] == 3
    np.testing.assert_allclose(state["m/conv.kernel"], m["conv.kernel"], atol=1e-6)
    np.testing.assert_allclose(state["v/conv.kernel"], v["conv.kernel"], rtol=1e-4)


def _epoch(trainer: Trainer, epoch: int) -> np.ndarray:
    trainer.start_epoch(epoch)
    for rows in ([0, 3], [5, 1], [2, 4]):
        trainer.step(np.array(rows), 1e-3)
    return trainer.losses()


@pytest.mark.parametrize("name", ["rfbsnet", "fast_scnn"])
def test_resuming_is_exact_to_the_bit(data: Data, name: str) -> None:
    whole = _network(name)
    trainer = whole.trainer(_options())
    trainer.set_data(*data)
    first = _epoch(trainer, 0)
    state, weights = trainer.state(), whole.weights()
    second = _epoch(trainer, 1)

    # The other process would do the first epoch too: the same seed gives the same bits.
    resumed = _network(name)
    trainer = resumed.trainer(_options())
    trainer.set_data(*data)
    assert np.array_equal(_epoch(trainer, 0), first)
    assert all(np.array_equal(resumed.weights()[key], value) for key, value in weights.items())
    # Then it is led astray, and resumes from what was kept.
    _epoch(trainer, 7)
    resumed.set_weights(weights)
    trainer.set_state(state)
    assert np.array_equal(_epoch(trainer, 1), second)
    after = resumed.weights()
    assert all(np.array_equal(after[key], value) for key, value in whole.weights().items())


def test_dropout_hangs_on_seed_and_epoch(data: Data) -> None:
    def first_loss(epoch: int, *, seed: int = 3, dropout: bool = True) -> float:
        trainer = _network().trainer(_options(seed=seed, dropout=dropout))
        trainer.set_data(*data)
        trainer.start_epoch(epoch)
        trainer.step(np.array([0, 1]), 0.0)
        return float(trainer.losses()[0])

    assert first_loss(0) == first_loss(0)
    assert len({first_loss(0), first_loss(1), first_loss(0, seed=4)}) == 3
    assert first_loss(0, dropout=False) == first_loss(1, dropout=False)


def test_dropout_differs_from_step_to_step(data: Data) -> None:
    trainer = _network().trainer(_options())
    trainer.set_data(*data)
    trainer.step(np.array([0, 1]), 0.0)
    trainer.step(np.array([0, 1]), 0.0)
    first, second = trainer.losses()
    assert first != second


def test_running_statistics_are_biased(data: Data) -> None:
    network = _network()
    rows = np.array([0, 1])
    before = network.activations(data[0][rows])["conv"].astype(np.float64)
    trainer = network.trainer(_options())
    trainer.set_data(data[0][:2], data[1][:2])
    trainer.step(rows, 0.0)
    after = network.weights()
    np.testing.assert_allclose(after["norm.mean"], 0.5 * before.mean((0, 1, 2)), rtol=1e-4)
    # The unbiased variance of 2 · 64 · 64 values would be off by 1.2e-4.
    biased = 0.5 + 0.5 * before.var((0, 1, 2))
    np.testing.assert_allclose(after["norm.variance"], biased, rtol=1e-5)


def test_recalibrated_statistics_are_the_plain_mean_over_batches() -> None:
    backend = KerasBackend(Runtime(threads=1))
    network = backend.build(_two_norms, classes=2, height=SIDE, width=SIDE)
    for _ in range(2):  # the second time by the function that the first one traced
        network.set_weights(references.two_norms())
        network.recalibrate(references.images(), references.BATCH)
        references.assert_recalibrated(network.weights())
    network.recalibrate(references.images(1), references.BATCH)  # no complete batch
    references.assert_recalibrated(network.weights())
    # Momentum and dropout are in force again.
    trainer = network.trainer(_options())
    trainer.set_data(references.images(2), np.zeros((2, SIDE, SIDE), np.uint8))
    trainer.step(np.array([0, 1]), 0.0)
    trainer.step(np.array([0, 1]), 0.0)
    first, second = trainer.losses()
    assert first != second
    moved = network.weights()["first_norm.mean"] - references.recalibrated()["first_norm.mean"]
    assert 0 < np.abs(moved).max() < 0.1


def test_one_value_a_channel_has_no_variance(data: Data) -> None:
    network = _network("fast_scnn")  # its pyramid has a map of 1×1
    images, masks = data[0][:1], data[1][:1]
    sentence = "train with at least two images a batch"
    with pytest.raises(SizeError, match=sentence):
        network.gradients(images, masks, "dice")
    with pytest.raises(SizeError, match=sentence):
        network.trainer(TrainingOptions(loss="dice", seed=0, batch_size=1))
    with pytest.raises(SizeError, match=sentence):
        network.recalibrate(images, 1)


def test_states_that_do_not_fit_are_refused() -> None:
    trainer = _network().trainer(_options())
    state = trainer.state()
    state["m/other.kernel"] = state.pop("m/conv.kernel")
    with pytest.raises(WeightsError, match=r"m/conv\.kernel.*missing"):
        trainer.set_state(state)
