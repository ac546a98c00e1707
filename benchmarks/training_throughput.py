"""Our training loop against the shortest plain loop of each framework, in one run.

    python -m benchmarks.training_throughput [--network rfbsnet] [--size 96] [--rounds 7]

Each framework has a process of its own. There the two loops take turns on the same arrays, batches
and loss, with the device synchronised at each round's end; the ratio is of median round times, and
above 1 means that ours is faster. Plain is: PyTorch's eager loop, Keras' `model.fit`, a jitted step
of a Flax module with optax. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from backends.contract import Runtime, TrainingOptions
from backends.weights import initial_values
from harness import registry
from harness.launch.environment import worker_environment

BATCH = 8
SLICES = 64
LEARNING_RATE = 1e-4
BACKENDS = ("torch", "keras", "flax")


def arrays(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(SLICES, size, size, 1) float32 images and (SLICES, size, size) uint8 masks."""
    random = np.random.default_rng(0)
    images = random.normal(size=(SLICES, size, size, 1)).astype(np.float32)
    return images, (images[..., 0] > 1).astype(np.uint8)


def ours(backend: str, network: str, size: int) -> Callable[[], None]:
    """One epoch of the harness' loop, losses read at its end."""
    entry = registry.network(network)
    made = registry.load_backend(backend)(Runtime(threads=os.cpu_count() or 1))
    built = made.build(registry.load_builder(entry, backend), classes=2, height=size, width=size)
    built.set_weights(initial_values(built.weight_specs(), 0, entry.card.he_normal))
    trainer = built.trainer(TrainingOptions(loss="dice_ce", seed=0, batch_size=BATCH))
    trainer.set_data(*arrays(size))

    def epoch() -> None:
        order = np.random.default_rng(0).permutation(SLICES)
        trainer.start_epoch(0)
        for start in range(0, SLICES, BATCH):
            trainer.step(order[start : start + BATCH], LEARNING_RATE)
        trainer.losses()

    return epoch


def plain_torch(build: Callable[..., Any], size: int) -> Callable[[], None]:
    """The loop of a tutorial, without a data loader."""
    import torch
    from torch.nn import functional

    model = build(classes=2, height=size, width=size).train()
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.02)
    images, masks = arrays(size)
    x = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
    y = torch.tensor(masks).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, eps=1e-7)

    def epoch() -> None:
        order = torch.randperm(SLICES)
        for start in range(0, SLICES, BATCH):
            rows = order[start : start + BATCH]
            logits, truth = model(x[rows]), y[rows]
            brain, g = logits.softmax(1)[:, 1], truth.float()
            dice = 1 - (2 * (brain * g).sum() + 1) / (brain.sum() + g.sum() + 1)
            loss = dice + functional.cross_entropy(logits, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def plain_keras(build: Callable[..., Any], size: int) -> Callable[[], None]:
    """`model.fit` on arrays."""
    import keras
    import tensorflow as tf

    # Ours asks TensorFlow for determinism, in this process therefore for both.
    keras.utils.set_random_seed(0)
    model = build(classes=2, height=size, width=size)
    images, masks = arrays(size)

    def loss(truth: Any, logits: Any) -> Any:
        g = tf.cast(truth, tf.float32)
        brain: Any = tf.nn.softmax(logits)
        brain = brain[..., 1]
        overlap = 2 * tf.reduce_sum(brain * g) + 1
        dice = 1 - overlap / (tf.reduce_sum(brain) + tf.reduce_sum(g) + 1)
        labels = tf.cast(truth, tf.int32)
        cross = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
        return dice + tf.reduce_mean(cross)

    model.compile(keras.optimizers.Adam(LEARNING_RATE, epsilon=1e-7), loss, jit_compile=False)

    def epoch() -> None:
        model.fit(images, masks, batch_size=BATCH, epochs=1, verbose=0)

    return epoch


def plain_flax(build: Callable[..., Any], size: int) -> Callable[[], None]:
    """A jitted step on the split module with optax, weights donated."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx

    from backends.flax_layers import seed_dropout

    model = build(classes=2, height=size, width=size)
    model.train()
    graph, weights, statistics, fixed = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    optimizer = optax.adam(LEARNING_RATE, eps=1e-7)
    moments = optimizer.init(weights)
    images, masks = (jnp.asarray(array) for array in arrays(size))

    def loss(weights: Any, statistics: Any, rows: Any) -> Any:
        module = nnx.merge(graph, weights, statistics, fixed)
        # The networks draw dropout from the key that they are given; one key does for timing.
        seed_dropout(module, jax.random.key(rows[0], impl="rbg"))
        logarithms = jax.nn.log_softmax(module(images[rows]))
        g = masks[rows].astype(jnp.float32)
        brain = jnp.exp(logarithms[..., 1])
        dice = 1 - (2 * (brain * g).sum() + 1) / (brain.sum() + g.sum() + 1)
        cross = -(g * logarithms[..., 1] + (1 - g) * logarithms[..., 0]).mean()
        return dice + cross, nnx.state(module, nnx.BatchStat)

    def step(weights: Any, statistics: Any, moments: Any, rows: Any) -> Any:
        differentiate = jax.value_and_grad(loss, has_aux=True)
        (value, statistics), gradients = differentiate(weights, statistics, rows)
        updates, moments = optimizer.update(gradients, moments, weights)
        return optax.apply_updates(weights, updates), statistics, moments, value

    compiled = jax.jit(step, donate_argnums=(0, 1, 2))
    state = [weights, statistics, moments]

    def epoch() -> None:
        order = np.random.default_rng(0).permutation(SLICES)
        value = None
        for start in range(0, SLICES, BATCH):
            *state[:], value = compiled(*state, order[start : start + BATCH])
        jax.block_until_ready(value)

    return epoch


PLAIN = {"torch": plain_torch, "keras": plain_keras, "flax": plain_flax}


def seconds(epoch: Callable[[], None]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    epoch()
    return time.perf_counter() - start


def measure(backend: str, network: str, size: int, rounds: int) -> dict[str, Any]:
    """Both loops in turns in this process; the first call of each compiles and is left out."""
    own = ours(backend, network, size)
    plain = PLAIN[backend](registry.load_builder(registry.network(network), backend), size)
    own()
    plain()
    pairs = [
        (seconds(own), seconds(plain)) if index % 2 else (seconds(plain), seconds(own))[::-1]
        for index in range(rounds)
    ]
    own_s, plain_s = (statistics.median(column) for column in zip(*pairs, strict=True))
    return {
        "backend": backend,
        "network": network,
        "size": size,
        "ours_images_per_s": round(SLICES / own_s, 1),
        "plain_images_per_s": round(SLICES / plain_s, 1),
        "ratio": round(plain_s / own_s, 3),
        "ratio_by_round": [round(b / a, 3) for a, b in pairs],
    }


def main() -> None:
    """Run each backend in a process of its own and print one JSON row each."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--network", default="rfbsnet")
    parser.add_argument("--backends", default=",".join(BACKENDS))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        row = measure(options.worker, options.network, options.size, options.rounds)
        print(json.dumps(row))
        return
    threads = len(os.sched_getaffinity(0))
    again = [sys.executable, "-m", "benchmarks.training_throughput", *sys.argv[1:], "--worker"]
    for backend in options.backends.split(","):
        environment = worker_environment(backend, "cpu", threads, None)
        subprocess.run([*again, backend], env=environment, check=True)


if __name__ == "__main__":
    main()
