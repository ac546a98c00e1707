"""Our training loop against the shortest plain loop of each framework, in one run.

    python -m benchmarks.training_throughput [--networks rfbsnet,enet] [--size 128] [--rounds 9]
                                             [--backends torch,keras,flax] [--at-least 0.97]

Each framework and network has a process of its own. There the two loops take turns on the same
arrays, batches and loss, from the same weights, with the device synchronised at each round's end;
the ratio is of median round times, and above 1 means that ours is faster. Plain is: PyTorch's eager
loop, Keras' `model.fit`, a jitted step of a Flax module with optax. RFBSNet has no batch
normalisation, ENet has it throughout. Run it on an idle machine (docs/training.md).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from backends.contract import Network, Runtime, TrainingOptions
from backends.weights import initial_values
from harness import cores, registry
from harness.jobs.environment import worker_environment

BATCH = 8
SLICES = 64
LEARNING_RATE = 1e-4
# The file of weights that each framework's users load, which is where the plain loop starts.
FORMS = {"torch": "start.pt", "keras": "start.weights.h5", "flax": "start.msgpack"}


def arrays(size: int) -> tuple[np.ndarray, np.ndarray]:
    """(SLICES, size, size, 1) float32 images and (SLICES, size, size) uint8 masks."""
    random = np.random.default_rng(0)
    images = random.normal(size=(SLICES, size, size, 1)).astype(np.float32)
    return images, (images[..., 0] > 1).astype(np.uint8)


def built(backend: str, network: str, size: int) -> Network:
    """The network at its starting weights."""
    entry = registry.network(network)
    made = registry.load_backend(backend)(Runtime(threads=cores.count()))
    found = made.build(registry.load_builder(entry, backend), classes=2, height=size, width=size)
    found.set_weights(initial_values(found.weight_specs(), 0, entry.card.he_normal))
    return found


def ours(network: Network, size: int) -> Callable[[], None]:
    """One epoch of the harness' loop, losses read at its end."""
    trainer = network.trainer(TrainingOptions(loss="dice_ce", seed=0, batch_size=BATCH))
    trainer.set_data(*arrays(size))

    def epoch() -> None:
        order = np.random.default_rng(0).permutation(SLICES)
        trainer.start_epoch(0)
        for rows in trainer.place(order.reshape(-1, BATCH)):
            trainer.step(rows, LEARNING_RATE)
        trainer.losses()

    return epoch


def plain_torch(build: Callable[..., Any], size: int, start: Path) -> Callable[[], None]:
    """The loop of a tutorial, without a data loader."""
    import torch
    from torch.nn import functional

    model = build(classes=2, height=size, width=size).train()
    model.load_state_dict(torch.load(start, weights_only=True))
    images, masks = arrays(size)
    x = torch.tensor(images).permute(0, 3, 1, 2).contiguous()
    y = torch.tensor(masks).long()
    optimizer = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, eps=1e-7)

    def epoch() -> None:
        order = torch.randperm(SLICES)
        for first in range(0, SLICES, BATCH):
            rows = order[first : first + BATCH]
            logits, truth = model(x[rows]), y[rows]
            brain, g = logits.softmax(1)[:, 1], truth.float()
            dice = 1 - (2 * (brain * g).sum() + 1) / (brain.sum() + g.sum() + 1)
            loss = dice + functional.cross_entropy(logits, truth)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    return epoch


def plain_keras(build: Callable[..., Any], size: int, start: Path) -> Callable[[], None]:
    """`model.fit` on arrays."""
    import keras
    import tensorflow as tf

    # Ours asks TensorFlow for determinism, in this process therefore for both.
    keras.utils.set_random_seed(0)
    model = build(classes=2, height=size, width=size)
    model.load_weights(start)
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


def plain_flax(build: Callable[..., Any], size: int, start: Path) -> Callable[[], None]:
    """A jitted step on the split module with optax, weights donated."""
    import jax
    import jax.numpy as jnp
    import optax
    from flax import nnx, serialization

    from backends.flax_layers import seed_dropout

    model = build(classes=2, height=size, width=size)
    state = nnx.state(model)
    tree: Any = serialization.msgpack_restore(start.read_bytes())
    nnx.replace_by_pure_dict(state, tree)
    nnx.update(model, state)
    model.train()
    graph, weights, statistics, fixed = nnx.split(model, nnx.Param, nnx.BatchStat, ...)
    optimizer = optax.adam(LEARNING_RATE, eps=1e-7)
    moments = optimizer.init(weights)
    images, masks = (jnp.asarray(array) for array in arrays(size))

    def loss(weights: Any, statistics: Any, rows: Any) -> Any:
        # A copy: the statistics that it changes must be of this trace.
        module = nnx.merge(graph, weights, statistics, fixed, copy=True)
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
    held = [weights, statistics, moments]

    def epoch() -> None:
        order = np.random.default_rng(0).permutation(SLICES)
        value = None
        for first in range(0, SLICES, BATCH):
            *held[:], value = compiled(*held, order[first : first + BATCH])
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
    found = built(backend, network, size)
    with tempfile.TemporaryDirectory() as folder:
        start = Path(folder) / FORMS[backend]
        found.write_native(start)
        build = registry.load_builder(registry.network(network), backend)
        plain = PLAIN[backend](build, size, start)
    own = ours(found, size)
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


def main() -> int:
    """Print one JSON row a network and backend; 1 where one is slower than `--at-least` allows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--networks", default="rfbsnet,enet")
    parser.add_argument("--backends", default=",".join(PLAIN))
    parser.add_argument("--size", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--at-least", type=float, default=0.0, help="least ratio for exit code 0")
    parser.add_argument("--worker", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        backend, network = options.worker
        print(json.dumps(measure(backend, network, options.size, options.rounds)))
        return 0
    size, rounds = ("--size", str(options.size)), ("--rounds", str(options.rounds))
    slow = []
    for network in options.networks.split(","):
        for backend in options.backends.split(","):
            done = subprocess.run(
                [sys.executable, "-m", __spec__.name, *size, *rounds, "--worker", backend, network],
                env=worker_environment(backend, "cpu", cores.count(), None),
                stdout=subprocess.PIPE,
                text=True,
                check=True,
            )
            row = json.loads(done.stdout.splitlines()[-1])
            print(json.dumps(row), flush=True)
            if row["ratio"] < options.at_least:
                slow.append(f"{network} on {backend} trains at {row['ratio']} of the plain loop")
    for sentence in slow:
        print(f"{sentence}, less than {options.at_least}.", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
