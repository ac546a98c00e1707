"""Training in PyTorch: the formulas of the contract, repeatability, resuming."""

from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
from torch import Tensor, nn

from backends.contract import Runtime, TrainingOptions
from backends.errors import SizeError, WeightsError
from backends.torch_backend import TorchBackend
from backends.torch_layers import BatchNorm, Conv, relu_
from backends.torch_network import TorchNetwork
from backends.torch_training import TorchTrainer
from backends.weights import initial_values
from harness import registry
from tests.contract import references

SIDE = 64
COUNT = 6


class _Tiny(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = Conv(1, 4, 3)
        self.norm = BatchNorm(4)
        self.dropout = nn.Dropout(0.5)
        self.head = Conv(4, 2, 1)

    def forward(self, input: Tensor) -> Tensor:
        return self.head(self.dropout(relu_(self.norm(self.conv(input)))))


class _TwoNorms(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        for name, (inputs, outputs) in references.WIDTHS.items():
            self.add_module(name, Conv(inputs, outputs, 1))
            self.add_module(f"{name}_norm", BatchNorm(outputs))
        self.dropout = nn.Dropout(0.5)
        self.head = Conv(4, 2, 1)

    def forward(self, input: Tensor) -> Tensor:
        for name in references.WIDTHS:
            norm = self.get_submodule(f"{name}_norm")
            input = self.dropout(relu_(norm(self.get_submodule(name)(input))))
        return self.head(input)


def _network(name: str = "", classes: int = 2) -> TorchNetwork:
    backend = TorchBackend(Runtime())

    def tiny(**_: int) -> _Tiny:
        return _Tiny()

    builder = registry.load_builder(registry.network(name), "torch") if name else tiny
    network = backend.build(builder, classes=classes, height=SIDE, width=SIDE)
    network.set_weights(initial_values(network.weight_specs(), 5))
    return network


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(2)
    images = random.standard_normal((COUNT, SIDE, SIDE, 1)).astype(np.float32)
    return images, (images[..., 0] > 0.5).astype(np.uint8)


def _options(
    loss: Literal["dice", "dice_ce"] = "dice_ce", *, dropout: bool = True, seed: int = 3
) -> TrainingOptions:
    return TrainingOptions(loss=loss, seed=seed, batch_size=2, dropout=dropout)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", ["dice", "dice_ce"])
def test_losses_are_those_of_the_contract(
    data: tuple[np.ndarray, np.ndarray], loss: Literal["dice", "dice_ce"], classes: int
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


def test_adam_is_that_of_the_contract(data: tuple[np.ndarray, np.ndarray]) -> None:
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
            np.testing.assert_allclose(after[name], expected[name], atol=2e-6, err_msg=name)
    state = trainer.state()
    assert state["step"] == 3
    np.testing.assert_allclose(state["m/conv.kernel"], m["conv.kernel"], atol=1e-6)
    np.testing.assert_allclose(state["v/conv.kernel"], v["conv.kernel"], rtol=1e-4)


def _epoch(trainer: TorchTrainer, epoch: int) -> np.ndarray:
    trainer.start_epoch(epoch)
    for rows in ([0, 3], [5, 1], [2, 4]):
        trainer.step(np.array(rows), 1e-3)
    return trainer.losses()


@pytest.mark.parametrize("name", ["rfbsnet", "fast_scnn"])
def test_resuming_is_exact_to_the_bit(data: tuple[np.ndarray, np.ndarray], name: str) -> None:
    whole = _network(name)
    trainer = whole.trainer(_options())
    trainer.set_data(*data)
    first = _epoch(trainer, 0)
    state, weights = trainer.state(), whole.weights()
    second = _epoch(trainer, 1)

    resumed = _network(name)
    resumed.set_weights(weights)
    trainer = resumed.trainer(_options())
    trainer.set_data(*data)
    trainer.set_state(state)
    assert np.array_equal(_epoch(trainer, 1), second)
    after = resumed.weights()
    assert all(np.array_equal(after[key], value) for key, value in whole.weights().items())
    # The same seed from the start gives the same bits too.
    trainer = (again := _network(name)).trainer(_options())
    trainer.set_data(*data)
    assert np.array_equal(_epoch(trainer, 0), first)
    assert all(np.array_equal(again.weights()[key], value) for key, value in weights.items())


def test_dropout_hangs_on_seed_and_epoch(data: tuple[np.ndarray, np.ndarray]) -> None:
    def first_loss(epoch: int, *, seed: int = 3, dropout: bool = True) -> float:
        trainer = _network().trainer(_options(seed=seed, dropout=dropout))
        trainer.set_data(*data)
        trainer.start_epoch(epoch)
        trainer.step(np.array([0, 1]), 0.0)
        return float(trainer.losses()[0])

    assert first_loss(0) == first_loss(0)
    assert len({first_loss(0), first_loss(1), first_loss(0, seed=4)}) == 3
    assert first_loss(0, dropout=False) == first_loss(1, dropout=False)


def test_training_leaves_evaluation_in_evaluation_mode(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    network = _network()
    inference = network.prepare(data[0][:2], plan="eager", quantity="forward")
    before = inference.logits(inference.launch())
    trainer = network.trainer(_options())
    trainer.set_data(*data)
    trainer.step(np.array([0, 1]), 0.0)
    np.testing.assert_array_equal(
        inference.logits(inference.launch()), network.predict(data[0][:2])
    )
    # The step moved the running statistics and nothing else.
    assert not np.array_equal(network.predict(data[0][:2]), before)


def test_recalibrated_statistics_are_the_plain_mean_over_batches() -> None:
    network = TorchBackend(Runtime()).build(
        lambda **_: _TwoNorms(), classes=2, height=SIDE, width=SIDE
    )
    network.set_weights(references.two_norms())
    network.recalibrate(references.images(), references.BATCH)
    references.assert_recalibrated(network.weights())
    network.recalibrate(references.images(1), references.BATCH)  # no complete batch
    references.assert_recalibrated(network.weights())


def test_one_value_a_channel_has_no_variance(data: tuple[np.ndarray, np.ndarray]) -> None:
    network = _network("fast_scnn")  # its pyramid has a map of 1×1
    with pytest.raises(SizeError, match="train with at least two images a batch"):
        network.gradients(data[0][:1], data[1][:1], "dice")


def test_states_and_data_that_do_not_fit_are_refused(
    data: tuple[np.ndarray, np.ndarray],
) -> None:
    trainer = _network().trainer(_options())
    state = trainer.state()
    state["m/other.kernel"] = state.pop("m/conv.kernel")
    with pytest.raises(WeightsError, match=r"m/conv\.kernel.*missing"):
        trainer.set_state(state)
    with pytest.raises(SizeError, match="one mask an image"):
        trainer.set_data(data[0], data[1][:2])
