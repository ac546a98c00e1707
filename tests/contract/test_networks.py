"""The networks in every framework: named, run, differentiated, timed, and what is refused."""

from __future__ import annotations

import re

import numpy as np
import pytest

from backends.contract import Network
from backends.errors import BackendError, SizeError, Unsupported, WeightsError
from backends.plans import PLANS, RUNTIMES, Plan
from harness import registry
from tests.contract import references
from tests.contract.hooks import FRAMEWORKS, SIDE, FrameworkHooks, cells, load

CELLS = pytest.mark.parametrize(("hooks", "name"), cells(), indirect=["hooks"])
# Of the deployment runtimes test_runtimes.py tells, of the compiler test_torch_networks.py.
ELSEWHERE = {"compile", *(plan.key for plan in RUNTIMES)}
PLANS_HERE = [
    (framework, plan)
    for framework in FRAMEWORKS
    for plan in PLANS[framework]
    if "cpu" in plan.devices and plan.key not in ELSEWHERE
]


def _trained(hooks: FrameworkHooks, name: str) -> Network:
    network = hooks.network(name)
    network.set_weights(references.trained_like(network.weight_specs()))
    return network


@CELLS
def test_weights_come_back_as_they_went_in(hooks: FrameworkHooks, name: str) -> None:
    network = hooks.network(name)
    given = references.trained_like(network.weight_specs())
    network.set_weights(given)
    back = network.weights()
    assert list(back) == [spec.name for spec in network.weight_specs()]
    assert all(np.array_equal(back[key], given[key]) for key in given)
    layers = {key.rpartition(".")[0] for key in given}
    if hooks.compiles_slowly:
        assert layers <= {operation.name for operation in network.operations()}
    else:
        assert set(network.activations(references.batch(1, SIDE, hooks.width)[0])) == layers


@CELLS
def test_weights_are_named_as_pytorch_names_them(hooks: FrameworkHooks, name: str) -> None:
    if not registry.network(name).implements("torch"):
        pytest.skip(f"{name} is not implemented in PyTorch")
    expected = load("torch").network(name).weight_specs()
    specs = hooks.network(name).weight_specs()
    if hooks.name == "keras":  # its layers are those of a graph, in another order
        assert set(specs) == set(expected)
    else:
        assert specs == expected


@CELLS
def test_logits_are_finite_and_depend_on_their_own_image(hooks: FrameworkHooks, name: str) -> None:
    slow = hooks.compiles_slowly
    network = _trained(hooks, name)
    # Below eight images Flax runs one by one, which would be a second compilation.
    images, _ = references.batch(8 if slow else 2, SIDE, hooks.width)
    logits = network.predict(images)
    assert logits.shape == (*images.shape[:3], 2)
    assert logits.dtype == np.float32
    assert np.isfinite(logits).all()
    assert not np.array_equal(logits[0], logits[1])
    near = 1e-5 * np.abs(logits).max()
    among_others = network.predict(np.concatenate([images[:1], -images[1:]]))
    np.testing.assert_allclose(among_others[0], logits[0], rtol=1e-6, atol=1e-6 if slow else near)
    if not slow:
        np.testing.assert_allclose(network.predict(images[1:2]), logits[1:2], atol=near)


# XLA compiles each network three times; test_flax_networks.py traces the gradients instead.
@pytest.mark.parametrize(("hooks", "name"), cells(slow=("flax",)), indirect=["hooks"])
def test_every_weight_gets_a_gradient(hooks: FrameworkHooks, name: str) -> None:
    network = _trained(hooks, name)
    before = network.weights()
    found = network.gradients(*references.batch(2, SIDE, hooks.width), "dice_ce")
    assert list(found) == [spec.name for spec in network.weight_specs() if spec.trainable]
    assert [key for key, value in found.items() if not value.any()] == []
    # Running statistics are the network's business only while it trains.
    after = network.weights()
    assert all(np.array_equal(before[key], after[key]) for key in before)
    if hooks.compiles_slowly:
        images, _ = references.batch(8, SIDE, hooks.width)
        together = network.predict(images)
        alone = np.concatenate([network.predict(image[None]) for image in images])
        np.testing.assert_allclose(alone, together, atol=1e-5 * np.abs(together).max())


def test_more_images_than_a_batch_are_each_as_if_alone(hooks: FrameworkHooks) -> None:
    network = _trained(hooks, "rfbsnet")
    images, _ = references.batch(9, SIDE, hooks.width)
    together = network.predict(images)
    alone = np.concatenate([network.predict(image[None]) for image in images])
    np.testing.assert_allclose(together, alone, atol=1e-5)


def test_activations_are_named_outputs_in_order(hooks: FrameworkHooks) -> None:
    network = _trained(hooks, "tiny")
    images, _ = references.batch(2)
    activations = network.activations(images)
    assert list(activations) == ["conv", "norm", "mix", "head"]
    assert activations["conv"].shape == (2, SIDE, SIDE, 4)
    np.testing.assert_allclose(activations["head"], network.predict(images), atol=1e-6)


@pytest.mark.parametrize(
    ("hooks", "plan"), PLANS_HERE, indirect=["hooks"], ids=lambda value: getattr(value, "key", None)
)
def test_plans_answer_as_the_evaluation_does(hooks: FrameworkHooks, plan: Plan) -> None:
    network = _trained(hooks, "tiny")
    first, _ = references.batch(2)
    first.flags.writeable = False
    masks = network.prepare(-first, plan=plan.key, quantity="end_to_end")
    inference = network.prepare(first, plan=plan.key, quantity="forward")
    inference.synchronise(inference.launch())
    whole = masks.launch()
    compilations = inference.compilations(), masks.compilations()
    for images in (first, -first):
        inference.set_images(images)
        result = inference.launch()
        inference.synchronise(result)
        logits = inference.logits(result)
        difference = np.abs(logits - network.predict(images)).max()
        if plan.precision == "float32":
            assert difference < 1e-5
        else:
            assert 1e-6 < difference < 0.1
    masks.set_images(-first)
    assert np.array_equal(masks.launch(), whole)
    assert (inference.compilations(), masks.compilations()) == compilations
    assert whole.dtype == np.uint8
    assert whole.shape == (2, SIDE, SIDE)
    assert (whole == logits.argmax(-1)).mean() > 0.999


def test_matrix_products_take_the_precision_of_the_plan(hooks: FrameworkHooks) -> None:
    side, ones = np.full((64, 64), 1.0001, np.float32), np.ones((64, 64), np.float32)
    offered = [plan for plan in PLANS[hooks.name] if "cpu" in plan.devices]
    reduced = next(plan.key for plan in offered if plan.precision == "bfloat16")
    multiply = hooks.backend.multiply
    for plan in (offered[0].key, next(p.key for p in offered[1:] if p.precision == "float32")):
        once, twice = (multiply(side, ones, plan=plan, repeats=count) for count in (1, 2))
        assert once.mean() == pytest.approx(64.0064, abs=1e-4)
        assert twice.mean() == pytest.approx(64 * 64.0064, rel=1e-5)
    assert multiply(side, ones, plan=reduced).mean() == 64.0


def test_sizes_and_images_that_do_not_fit_are_refused(hooks: FrameworkHooks) -> None:
    with pytest.raises(SizeError, match="height 100 is not a multiple of 64"):
        hooks.build("tiny", 100, 64)
    network = hooks.network("tiny")
    images, masks = references.batch(2)
    plan = PLANS[hooks.name][0].key
    with pytest.raises(SizeError, match="3 channels"):
        network.predict(np.zeros((1, SIDE, SIDE, 3), np.float32))
    with pytest.raises(SizeError, match=r"expected \(n, 64, 64, 1\)"):
        network.predict(images[:, :32])
    with pytest.raises(SizeError, match=r"prepared for \(1, 64, 64, 1\)"):
        network.prepare(images[:1], plan=plan, quantity="forward").set_images(images)
    with pytest.raises(SizeError, match="one mask per image"):
        network.gradients(images, masks[:1], "dice")


def test_plans_that_do_not_run_here_are_refused(hooks: FrameworkHooks) -> None:
    network = hooks.network("tiny")
    images, _ = references.batch(1)
    first, *others = PLANS[hooks.name]
    with pytest.raises(BackendError, match=f"unknown plan '{first.key}x': did you mean"):
        network.prepare(images, plan=f"{first.key}x", quantity="forward")
    elsewhere = [plan.key for plan in others if "cpu" not in plan.devices]
    for key in elsewhere:
        for call in (
            lambda key=key: network.prepare(images, plan=key, quantity="forward"),
            lambda key=key: hooks.backend.multiply(images[0, ..., 0], images[0, ..., 0], plan=key),
        ):
            with pytest.raises(Unsupported, match=f"'{key}' needs cuda, not cpu"):
                call()
    assert elsewhere


def test_weights_of_another_network_are_refused(hooks: FrameworkHooks) -> None:
    network = hooks.network("tiny")
    weights = network.weights()
    with pytest.raises(WeightsError, match=r"'conv\.kernel' is missing"):
        network.set_weights({k: v for k, v in weights.items() if k != "conv.kernel"})
    weights["head.kernel"] = np.zeros((3, 3, 4, 2), np.float32)
    with pytest.raises(WeightsError, match=r"head\.kernel.*expected \(1, 1, 4, 2\)"):
        network.set_weights(weights)


def test_what_has_no_count_is_named(hooks: FrameworkHooks) -> None:
    """PyTorch lists it as unknown; the other frameworks refuse to count what holds it."""
    network = hooks.build("uncounted")
    try:
        found = [each.name for each in network.operations() if each.kind == "unknown"]
    except Unsupported as error:
        found = [str(error)]
    assert any(re.search(hooks.uncounted_name, name) for name in found)


def test_unknown_memory_has_a_reason(hooks: FrameworkHooks) -> None:
    memory = hooks.backend.memory()
    assert set(memory) == {"allocated_peak_bytes", "reserved_peak_bytes"}
    assert all(item.bytes is None and item.reason for item in memory.values())
