"""Training in every framework: the formulas of the contract, repeatability, resuming."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest

from backends.contract import Network, Trainer, TrainingOptions
from backends.errors import SizeError, WeightsError
from backends.plans import PLANS
from tests.contract import references
from tests.contract.hooks import FRAMEWORKS, SIDE, FrameworkHooks, load

DATA = references.batch(6)


def _trainer(network: Network, **options: Any) -> Trainer:
    settings = {"loss": "dice_ce", "seed": 3, "batch_size": 2, **options}
    trainer = network.trainer(TrainingOptions(**settings))
    trainer.set_data(*DATA)
    return trainer


def _epoch(trainer: Trainer, epoch: int) -> np.ndarray:
    trainer.start_epoch(epoch)
    for rows in ([0, 3], [5, 1], [2, 4]):
        trainer.step(np.array(rows), 1e-3)
    return trainer.losses()


def _assert_same(network: Network, weights: dict[str, np.ndarray]) -> None:
    own = network.weights()
    assert [name for name, value in weights.items() if not np.array_equal(own[name], value)] == []


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("loss", ["dice", "dice_ce"])
def test_losses_are_those_of_the_contract(
    hooks: FrameworkHooks, loss: Literal["dice", "dice_ce"], classes: int
) -> None:
    network = hooks.started(classes=classes)
    rows = np.array([4, 1])
    images, masks = (values[rows] for values in DATA)
    # The statistics of this batch make inference equal training.
    outputs = network.activations(images)["conv"].astype(np.float64)
    own = {"norm.mean": outputs.mean((0, 1, 2)), "norm.variance": outputs.var((0, 1, 2))}
    network.set_weights(network.weights() | {n: v.astype(np.float32) for n, v in own.items()})
    expected = references.loss(network.predict(images), masks, loss)
    trainer = _trainer(network, loss=loss, dropout=False)
    trainer.step(rows, 0.0)
    trainer.step(rows, 0.0)
    losses = trainer.losses()
    assert losses.dtype == np.float32
    np.testing.assert_allclose(losses, [expected, expected], rtol=1e-5)
    assert trainer.losses().size == 0


def test_adam_is_that_of_the_contract(hooks: FrameworkHooks) -> None:
    network = hooks.started()
    trainer = _trainer(network, dropout=False)
    expected = {k: v.astype(np.float64) for k, v in network.weights().items()}
    m = {name: np.zeros_like(value) for name, value in expected.items()}
    v = dict(m)
    for step, rate in enumerate((1e-2, 5e-3, 1e-2), start=1):
        rows = np.array([step - 1, step])
        gradients = network.gradients(DATA[0][rows], DATA[1][rows], "dice_ce")
        trainer.step(rows, rate)
        after = network.weights()
        for name, gradient in gradients.items():
            m[name] = 0.9 * m[name] + 0.1 * gradient
            v[name] = 0.999 * v[name] + 0.001 * gradient.astype(np.float64) ** 2
            scaled = np.sqrt(v[name] / (1 - 0.999**step)) + 1e-7
            expected[name] -= rate * (m[name] / (1 - 0.9**step)) / scaled
            if name not in hooks.rounding:
                np.testing.assert_allclose(after[name], expected[name], atol=2e-6, err_msg=name)
    state = trainer.state()
    assert state["step"] == 3
    np.testing.assert_allclose(state["m/conv.kernel"], m["conv.kernel"], atol=1e-6)
    np.testing.assert_allclose(state["v/conv.kernel"], v["conv.kernel"], rtol=1e-4)


def test_gradients_are_the_slopes_of_the_loss(hooks: FrameworkHooks) -> None:
    network = hooks.started()
    rows, change = np.array([0, 3]), 1e-2
    gradients = network.gradients(DATA[0][rows], DATA[1][rows], "dice")
    assert set(gradients) == {spec.name for spec in network.weight_specs() if spec.trainable}
    weights = network.weights()
    trainer = _trainer(network, loss="dice", dropout=False)

    def loss(value: float) -> float:
        moved = {**weights, "head.bias": weights["head.bias"] + np.array([0, value], np.float32)}
        network.set_weights(moved)
        trainer.step(rows, 0.0)
        return float(trainer.losses()[0])

    slope = (loss(change) - loss(-change)) / (2 * change)
    assert gradients["head.bias"][1] == pytest.approx(slope, rel=1e-3)


# XLA takes half a minute to compile the training of a network of the registry.
RESUMED = [(framework, "tiny") for framework in FRAMEWORKS]
RESUMED += [
    (framework, name) for framework in ("torch", "keras") for name in ("rfbsnet", "fast_scnn")
]


@pytest.mark.parametrize(("hooks", "name"), RESUMED, indirect=["hooks"])
def test_resuming_is_exact_to_the_bit(hooks: FrameworkHooks, name: str) -> None:
    whole = hooks.started(name)
    trainer = _trainer(whole)
    start = trainer.state(), whole.weights()
    first = _epoch(trainer, 0)
    middle = trainer.state(), whole.weights()
    second = _epoch(trainer, 1)
    end = whole.weights()

    resumed = hooks.started(name)
    trainer = _trainer(resumed)
    for _ in range(2):
        resumed.set_weights(middle[1])
        trainer.set_state(middle[0])
        assert np.array_equal(_epoch(trainer, 1), second)
        _assert_same(resumed, end)
        _epoch(trainer, 7)  # led astray before the second time
    # The same seed from the start gives the same bits too.
    resumed.set_weights(start[1])
    trainer.set_state(start[0])
    assert np.array_equal(_epoch(trainer, 0), first)
    _assert_same(resumed, middle[1])


def test_dropout_depends_on_seed_epoch_and_step(hooks: FrameworkHooks) -> None:
    network = hooks.started()
    weights = network.weights()

    def two_losses(trainer: Trainer, epoch: int) -> tuple[float, ...]:
        network.set_weights(weights)
        trainer.start_epoch(epoch)
        for _ in range(2):
            trainer.step(np.array([0, 1]), 0.0)
        return tuple(trainer.losses().tolist())

    plain, other, without = (
        _trainer(network),
        _trainer(network, seed=4),
        _trainer(network, dropout=False),
    )
    first = two_losses(plain, 0)
    assert len({*first, *two_losses(plain, 1), *two_losses(other, 0)}) == 6
    assert two_losses(plain, 0) == first
    same = two_losses(without, 0)
    assert same[0] == same[1] == two_losses(without, 1)[0]


def test_training_moves_biased_running_statistics_and_gradients_move_none(
    hooks: FrameworkHooks,
) -> None:
    network = hooks.started()
    before = network.weights()
    network.gradients(*DATA, "dice")
    _assert_same(network, before)
    batch = network.activations(DATA[0][:2])["conv"].astype(np.float64)
    _trainer(network).step(np.array([0, 1]), 0.0)
    after = network.weights()
    np.testing.assert_allclose(after["norm.mean"], 0.5 * batch.mean((0, 1, 2)), rtol=1e-4)
    # The unbiased variance of 2 · 64 · 64 values would be off by 1.2e-4.
    biased = 0.5 + 0.5 * batch.var((0, 1, 2))
    np.testing.assert_allclose(after["norm.variance"], biased, rtol=1e-5)


def test_training_leaves_evaluation_in_evaluation_mode(hooks: FrameworkHooks) -> None:
    network = hooks.started()
    images = DATA[0][:2]
    plan = PLANS[hooks.name][0].key
    before = network.predict(images)
    _trainer(network).step(np.array([0, 1]), 0.0)
    inference = network.prepare(images, plan=plan, quantity="forward")
    after = inference.logits(inference.launch())
    np.testing.assert_allclose(after, network.predict(images), rtol=1e-6, atol=1e-6)
    # The step moved the running statistics and nothing else.
    assert not np.array_equal(after, before)


def test_recalibrated_statistics_are_the_plain_mean_over_batches(hooks: FrameworkHooks) -> None:
    network = hooks.build("two_norms")
    for _ in range(2):  # the second time by what the first one traced
        network.set_weights(references.two_norms())
        network.recalibrate(references.images(), references.BATCH)
        references.assert_recalibrated(network.weights())
    network.recalibrate(references.images(1), references.BATCH)  # no complete batch
    references.assert_recalibrated(network.weights())
    # Momentum and dropout are in force again.
    trainer = network.trainer(TrainingOptions(loss="dice", seed=3, batch_size=2))
    images = references.images(2)
    trainer.set_data(images, np.zeros(images.shape[:3], np.uint8))
    trainer.step(np.array([0, 1]), 0.0)
    trainer.step(np.array([0, 1]), 0.0)
    first, second = trainer.losses()
    assert first != second
    moved = network.weights()["first_norm.mean"] - references.recalibrated()["first_norm.mean"]
    assert 0 < np.abs(moved).max() < 0.1


def test_one_value_per_channel_has_no_variance(hooks: FrameworkHooks) -> None:
    network = hooks.network("fast_scnn")  # its pyramid has a map of 1×1
    images, masks = references.batch(1, SIDE, hooks.width)
    sentence = "train with at least two images per batch"
    with pytest.raises(SizeError, match=sentence):
        network.gradients(images, masks, "dice")
    with pytest.raises(SizeError, match=sentence):
        network.recalibrate(images, 1)

    def train() -> None:
        trainer = network.trainer(TrainingOptions(loss="dice", seed=0, batch_size=1))
        trainer.set_data(images, masks)
        trainer.step(np.array([0]), 0.0)

    with pytest.raises(SizeError, match=sentence):
        train()


def test_states_and_data_that_do_not_fit_are_refused(hooks: FrameworkHooks) -> None:
    trainer = _trainer(hooks.started())
    state = trainer.state()
    for name in ("m/conv.kernel", "step"):
        without = {key: value for key, value in state.items() if key != name}
        with pytest.raises(WeightsError, match=f"'{name}' is missing"):
            trainer.set_state(without)
    renamed = {key.replace("v/conv", "v/other"): value for key, value in state.items()}
    with pytest.raises(WeightsError, match=r"'v/conv\.[a-z]+' is missing"):
        trainer.set_state(renamed)
    with pytest.raises(SizeError, match="one mask per image"):
        trainer.set_data(DATA[0], DATA[1][:2])


def test_weights_given_are_copied(hooks: FrameworkHooks) -> None:
    """A framework may train in the buffers that it holds: those must not be the caller's."""
    network = hooks.started()
    weights = network.weights()
    before = {name: value.copy() for name, value in weights.items()}
    network.set_weights(weights)
    trainer = _trainer(network)
    trainer.step(np.array([0, 1]), 1e-2)
    trainer.losses()
    assert all(np.array_equal(weights[name], value) for name, value in before.items())
    assert not np.array_equal(network.weights()["head.kernel"], before["head.kernel"])


def test_batches_placed_at_once_are_those_given_one_by_one(hooks: FrameworkHooks) -> None:
    batches = np.array([[0, 3], [5, 1], [2, 4]])
    found = []
    for rows_of in (lambda _: list(batches), lambda trainer: trainer.place(batches)):
        network = hooks.started()
        trainer = _trainer(network)
        for rows in rows_of(trainer):
            trainer.step(rows, 1e-3)
        found.append((trainer.losses(), network.weights()))
    (losses, weights), (placed, _) = found
    assert np.array_equal(losses, placed)
    _assert_same(network, weights)


def test_bfloat16_rounds_products_and_nothing_else(hooks: FrameworkHooks) -> None:
    rows, rate = np.array([0, 3]), 1e-3
    found = {}
    for precision in ("float32", "bfloat16"):
        network = hooks.started()
        start = network.weights()
        # Of the same rounded kernel and images the statistics are exact only if float32.
        images = DATA[0].astype(np.float32)
        trainer = _trainer(network, precision=precision, dropout=False)
        trainer.set_data(images, DATA[1])
        trainer.step(rows, rate)
        found[precision] = float(trainer.losses()[0]), network.weights(), trainer.state()
    (plain, weights, _), (loss, after, state) = found["float32"], found["bfloat16"]
    assert 0 < abs(loss - plain) < 0.02 * plain
    # The loss itself is no bfloat16 number, nor are the master weights and the moments.
    assert not _is_bfloat16(np.array(loss, np.float32))
    for name, value in after.items():
        assert value.dtype == np.float32
        if name.endswith("kernel"):
            # Steps far below bfloat16's resolution arrive.
            moved = np.abs(value - start[name])
            assert (moved > 0).mean() > 0.9
            assert moved.max() <= 1.01 * rate
            assert not _is_bfloat16(value)
            assert not _is_bfloat16(state[f"m/{name}"])
    for name in ("norm.mean", "norm.variance"):
        assert not _is_bfloat16(after[name])
        np.testing.assert_allclose(after[name], weights[name], rtol=2e-2, atol=2e-3)
    # Evaluation stays what it was: float32 by the same weights.
    network.set_weights(weights)
    expected = network.predict(DATA[0][:2])
    other = hooks.started()
    other.set_weights(weights)
    np.testing.assert_array_equal(other.predict(DATA[0][:2]), expected)


def _is_bfloat16(values: np.ndarray) -> bool:
    """Whether bfloat16 would hold all of the float32 values."""
    return not (np.ascontiguousarray(values).view(np.uint32) & np.uint32(0xFFFF)).any()


def test_resuming_in_bfloat16_is_exact_to_the_bit(hooks: FrameworkHooks) -> None:
    whole = hooks.started()
    trainer = _trainer(whole, precision="bfloat16")
    _epoch(trainer, 0)
    middle = trainer.state(), whole.weights()
    second = _epoch(trainer, 1)
    resumed = hooks.started()
    again = _trainer(resumed, precision="bfloat16")
    resumed.set_weights(middle[1])
    again.set_state(middle[0])
    assert np.array_equal(_epoch(again, 1), second)
    _assert_same(resumed, whole.weights())


def test_keras_refuses_a_single_value_per_channel_before_it_traces() -> None:
    network = load("keras").network("fast_scnn")
    with pytest.raises(SizeError, match="train with at least two images per batch"):
        network.trainer(TrainingOptions(loss="dice", seed=0, batch_size=1))
