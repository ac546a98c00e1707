"""Training in Flax: the formulas of the contract, repeatability, resuming."""

from __future__ import annotations

from typing import Any, Literal

import jax
import numpy as np
import pytest
from flax import nnx

from backends.contract import Runtime, TrainingOptions
from backends.errors import SizeError, WeightsError
from backends.flax_backend import FlaxBackend
from backends.flax_layers import BatchNorm, Conv, Dropout
from backends.flax_network import FlaxNetwork
from backends.flax_operations import relu
from backends.flax_training import FlaxTrainer
from backends.weights import initial_values
from harness import registry
from tests.contract import references

SIDE = 64
COUNT = 6

Data = tuple[np.ndarray, np.ndarray]


class _Tiny(nnx.Module):
    def __init__(self, classes: int) -> None:
        self.conv = Conv(1, 4, 3)
        self.norm = BatchNorm(4)
        self.dropout = Dropout(0.5)
        self.head = Conv(4, classes, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.head(self.dropout(relu(self.norm(self.conv(x)))))


def _tiny(*, classes: int, **_: int) -> _Tiny:
    return _Tiny(classes)


class _TwoNorms(nnx.Module):
    def __init__(self, **_: int) -> None:
        for name, (inputs, outputs) in references.WIDTHS.items():
            setattr(self, name, Conv(inputs, outputs, 1))
            setattr(self, f"{name}_norm", BatchNorm(outputs))
        self.dropout = Dropout(0.5)
        self.head = Conv(4, 2, 1)

    def __call__(self, x: jax.Array) -> jax.Array:
        for name in references.WIDTHS:
            norm = getattr(self, f"{name}_norm")
            x = self.dropout(relu(norm(getattr(self, name)(x))))
        return self.head(x)


def _network(classes: int = 2) -> FlaxNetwork:
    network = FlaxBackend(Runtime()).build(_tiny, classes=classes, height=SIDE, width=SIDE)
    network.set_weights(initial_values(network.weight_specs(), 5))
    return network


@pytest.fixture(scope="module")
def data() -> Data:
    images = np.random.default_rng(2).standard_normal((COUNT, SIDE, SIDE, 1)).astype(np.float32)
    return images, (images[..., 0] > 0.5).astype(np.uint8)


def _trainer(network: FlaxNetwork, data: Data, **options: Any) -> FlaxTrainer:
    settings = {"loss": "dice_ce", "seed": 3, "batch_size": 2, **options}
    trainer = network.trainer(TrainingOptions(**settings))
    trainer.set_data(*data)
    return trainer


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", ["dice", "dice_ce"])
def test_losses_are_those_of_the_contract(
    data: Data, loss: Literal["dice", "dice_ce"], classes: int
) -> None:
    network = _network(classes)
    rows = np.array([4, 1])
    # The statistics of this batch make inference equal training.
    outputs = network.activations(data[0][rows])["conv"]
    weights = network.weights()
    weights["norm.mean"] = outputs.mean((0, 1, 2))
    weights["norm.variance"] = outputs.var((0, 1, 2))
    network.set_weights(weights)
    expected = references.loss(network.predict(data[0][rows]), data[1][rows], loss)
    trainer = _trainer(network, data, loss=loss, dropout=False)
    trainer.step(rows, 0.0)
    trainer.step(rows, 0.0)
    losses = trainer.losses()
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses, [expected, expected], rtol=1e-5)
    assert trainer.losses().size == 0


def test_adam_is_that_of_the_contract(data: Data) -> None:
    network = _network()
    trainer = _trainer(network, data, dropout=False)
    expected = {k: v.astype(np.float64) for k, v in network.weights().items()}
    m = {name: np.zeros_like(value) for name, value in expected.items()}
    v = dict(m)
    for step, rate in enumerate((1e-2, 5e-3, 1e-2), start=1):
        rows = np.array([step - 1, step])
        gradients = network.gradients(data[0][rows], data[1][rows], "dice_ce")
        trainer.step(rows, rate)
        after = network.weights()
        for name, gradient in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * gradient
            v[name] = 0.999 * v[name] + 0.001 * gradient.astype(np.float64) ** 2
            scaled = np.sqrt(v[name] / (1 - 0.999**step)) + 1e-7
            expected[name] -= rate * (m[name] / (1 - 0.9**step)) / scaled
            # A bias before a normalisation has no gradient but rounding, which Adam magnifies.
            if name != "conv.bias":
                np.testing.assert_allclose(after[name], expected[name], atol=2e-6, err_msg=name)
    state = trainer.state()
    assert state["step"] == 3
    np.testing.assert_allclose(state["m/conv.kernel"], m["conv.kernel"], atol=1e-6)
    np.testing.assert_allclose(state["v/conv.kernel"], v["conv.kernel"], rtol=1e-4)


def test_gradients_are_the_slopes_of_the_loss(data: Data) -> None:
    """A step of plain descent along a weight changes the loss as its gradient says."""
    network = _network()
    rows, change = np.array([0, 3]), 1e-2
    gradients = network.gradients(data[0][rows], data[1][rows], "dice")
    assert set(gradients) == {spec.name for spec in network.weight_specs() if spec.trainable}
    weights = network.weights()

    def loss(value: float) -> float:
        moved = {**weights, "head.bias": weights["head.bias"] + np.array([0, value], np.float32)}
        network.set_weights(moved)
        trainer = _trainer(network, data, loss="dice", dropout=False)
        trainer.step(rows, 0.0)
        return float(trainer.losses()[0])

    slope = (loss(change) - loss(-change)) / (2 * change)
    assert gradients["head.bias"][1] == pytest.approx(slope, rel=1e-3)


def _epoch(trainer: FlaxTrainer, epoch: int) -> np.ndarray:
    trainer.start_epoch(epoch)
    for rows in ([0, 3], [5, 1], [2, 4]):
        trainer.step(np.array(rows), 1e-3)
    return trainer.losses()


def test_resuming_is_exact_to_the_bit(data: Data) -> None:
    whole = _network()
    trainer = _trainer(whole, data)
    first = _epoch(trainer, 0)
    state, weights = trainer.state(), whole.weights()
    second = _epoch(trainer, 1)

    resumed = _network()
    resumed.set_weights(weights)
    trainer = _trainer(resumed, data)
    trainer.set_state(state)
    assert np.array_equal(_epoch(trainer, 1), second)
    after = resumed.weights()
    assert all(np.array_equal(after[key], value) for key, value in whole.weights().items())
    # The same seed from the start gives the same bits too.
    again = _network()
    assert np.array_equal(_epoch(_trainer(again, data), 0), first)
    assert all(np.array_equal(again.weights()[key], value) for key, value in weights.items())


def test_dropout_hangs_on_seed_epoch_and_step(data: Data) -> None:
    def two_losses(epoch: int, **options: Any) -> tuple[float, ...]:
        trainer = _trainer(_network(), data, **options)
        trainer.start_epoch(epoch)
        for _ in range(2):
            trainer.step(np.array([0, 1]), 0.0)
        return tuple(trainer.losses().tolist())

    assert two_losses(0) == two_losses(0)
    assert len({*two_losses(0), *two_losses(1), *two_losses(0, seed=4)}) == 6
    without = two_losses(0, dropout=False)
    assert without[0] == without[1] == two_losses(1, dropout=False)[0]


def test_training_moves_running_statistics_and_gradients_do_not(data: Data) -> None:
    network = _network()
    before = network.weights()
    network.gradients(*data, "dice")
    assert np.array_equal(network.weights()["norm.mean"], before["norm.mean"])
    trainer = _trainer(network, data)
    trainer.step(np.array([0, 1]), 0.0)
    batch = network.activations(data[0][:2])["conv"]
    after = network.weights()
    np.testing.assert_allclose(after["norm.mean"], 0.01 * batch.mean((0, 1, 2)), atol=1e-6)
    expected = 0.99 + 0.01 * batch.var((0, 1, 2))
    np.testing.assert_allclose(after["norm.variance"], expected, atol=1e-6)


def test_recalibrated_statistics_are_the_plain_mean_over_batches() -> None:
    network = FlaxBackend(Runtime()).build(_TwoNorms, classes=2, height=SIDE, width=SIDE)
    network.set_weights(references.two_norms())
    network.recalibrate(references.images(), references.BATCH)
    references.assert_recalibrated(network.weights())
    network.recalibrate(references.images(1), references.BATCH)  # no complete batch
    references.assert_recalibrated(network.weights())


def test_one_value_a_channel_has_no_variance(data: Data) -> None:
    builder = registry.load_builder(registry.network("fast_scnn"), "flax")
    network = FlaxBackend(Runtime()).build(builder, classes=2, height=SIDE, width=SIDE)
    with pytest.raises(SizeError, match="train with at least two images a batch"):
        network.gradients(data[0][:1], data[1][:1], "dice")


def test_a_foreign_state_is_refused(data: Data) -> None:
    trainer = _trainer(_network(), data)
    state = trainer.state()
    without = {name: value for name, value in state.items() if name != "m/conv.kernel"}
    with pytest.raises(WeightsError, match=r"'m/conv\.kernel' is missing"):
        trainer.set_state(without)
    with pytest.raises(WeightsError, match="'step' is missing"):
        trainer.set_state({name: value for name, value in state.items() if name != "step"})
