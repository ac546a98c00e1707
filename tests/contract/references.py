"""What NumPy says that every framework must compute, and what they compute it on."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from backends.contract import WeightSpec
from backends.weights import initial_values

SIDE = 64
BATCH = 2
EPSILON = 1e-3

# Two normalisations in a row of 1×1 convolutions, with dropout between: `first` and `second` are
# convolutions, each followed by `<name>_norm`, then `head`. The tests build it in their framework.
WIDTHS = {"first": (1, 3), "second": (3, 4)}


def images(count: int = 5) -> np.ndarray:
    """(count, 64, 64, 1) float32; five are two batches and an incomplete one."""
    random = np.random.default_rng(7)
    scale = np.arange(1, count + 1, dtype=np.float32)[:, None, None, None]
    return (scale * random.standard_normal((count, SIDE, SIDE, 1))).astype(np.float32)


def batch(count: int, height: int = SIDE, width: int = SIDE) -> tuple[np.ndarray, np.ndarray]:
    """(count, height, width, 1) float32 noise, and the uint8 masks of what is bright in it."""
    noise = np.random.default_rng(2).standard_normal((count, height, width, 1)).astype(np.float32)
    return noise, (noise[..., 0] > 0.5).astype(np.uint8)


def trained_like(specs: Iterable[WeightSpec]) -> dict[str, np.ndarray]:
    """Weights as after training: biases not zero, statistics away from 0 and 1."""
    random = np.random.default_rng(0)
    weights = initial_values(specs, 0)
    for name, value in weights.items():
        noise = random.standard_normal(value.shape).astype(np.float32)
        match name.rpartition(".")[2]:
            case "gamma" | "variance":
                weights[name] = np.exp(0.2 * noise)
            case "bias" | "beta" | "mean" | "alpha":
                weights[name] = 0.1 * noise
    return weights


def two_norms() -> dict[str, np.ndarray]:
    """Weights of the network of two normalisations, two classes; no value at its neutral one."""
    random = np.random.default_rng(8)
    weights: dict[str, np.ndarray] = {}
    for name, (inputs, outputs) in WIDTHS.items():
        weights[f"{name}.kernel"] = random.standard_normal((1, 1, inputs, outputs))
        weights[f"{name}.bias"] = random.standard_normal(outputs)
        for own in ("gamma", "beta", "mean", "variance"):
            weights[f"{name}_norm.{own}"] = random.uniform(0.5, 1.5, outputs)
    weights["head.kernel"] = random.standard_normal((1, 1, 4, 2))
    weights["head.bias"] = random.standard_normal(2)
    return {name: value.astype(np.float32) for name, value in weights.items()}


def recalibrated() -> dict[str, np.ndarray]:
    """`two_norms` with its running values as `Network.recalibrate` must leave them."""
    weights = two_norms()
    wide = {name: value.astype(np.float64) for name, value in weights.items()}
    whole = images()
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(whole) - BATCH + 1, BATCH):
        x = whole[start : start + BATCH].astype(np.float64)
        for name in WIDTHS:
            x = x @ wide[f"{name}.kernel"][0, 0] + wide[f"{name}.bias"]
            mean, variance = x.mean((0, 1, 2)), x.var((0, 1, 2))
            found.setdefault(f"{name}_norm.mean", []).append(mean)
            found.setdefault(f"{name}_norm.variance", []).append(variance)
            x = (x - mean) / np.sqrt(variance + EPSILON)
            x = np.maximum(x * wide[f"{name}_norm.gamma"] + wide[f"{name}_norm.beta"], 0)
    means = {name: np.mean(values, 0).astype(np.float32) for name, values in found.items()}
    return weights | means


def assert_recalibrated(weights: dict[str, np.ndarray]) -> None:
    """Running values as expected; nothing else has moved by a bit."""
    expected = recalibrated()
    assert list(weights) == list(expected)
    for name, value in expected.items():
        if name.endswith((".mean", ".variance")):
            np.testing.assert_allclose(weights[name], value, rtol=1e-5, atol=1e-5, err_msg=name)
        else:
            assert np.array_equal(weights[name], value), name


def loss(logits: np.ndarray, masks: np.ndarray, kind: str) -> float:
    """Loss of (n, h, w, classes) logits against (n, h, w) masks as `TrainingOptions` says it."""
    shifted = np.exp(logits.astype(np.float64) - logits.max(-1, keepdims=True))
    brain = (shifted / shifted.sum(-1, keepdims=True))[..., 1]
    dice = 1 - (2 * (brain * masks).sum() + 1) / (brain.sum() + masks.sum() + 1)
    entropy = -np.log(np.where(masks == 1, brain, 1 - brain)).mean()
    return dice + (entropy if kind == "dice_ce" else 0.0)
