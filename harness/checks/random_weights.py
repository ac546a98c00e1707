"""Random weights as they might stand after training, for comparisons between implementations.

Starting weights would hide faults: biases of zero, means of 0 and variances of 1 let a forgotten
bias, a wrong epsilon or swapped statistics pass. And freely drawn ones make deep networks vanish or
explode. Kernels are therefore drawn by He's rule, everything else away from its neutral value, and
the running statistics are those that the network's own layers have on a seeded batch, off by a
seeded few per cent, as running means are. The last layer is scaled so that the logits have a root
mean square of 1. The weights therefore belong to one input size.

Shifts are drawn around 0.7 and biases around 0.5, so that most ReLUs are open, as in trained
networks. With half of them closed a random network is chaotic: every layer magnifies a rounding
error by about 1.2, and DFANet's logits in float32 differ by 2e-3 from those in float64; as drawn
here by 2e-5.
"""

from __future__ import annotations

import contextlib
import hashlib
from math import prod

import numpy as np

from backends.contract import Array, Network, Operation, TrainingOptions, WeightSpec
from backends.errors import Unsupported

# Images of a seeded batch: as many as make this number of pixels, and two at least. Batch
# normalisation in training mode on maps of 1×1 (Fast-SCNN, DFANet at 64×64) sees as many values as
# there are images; of two it makes little more than a sign, whose gradient is rounding noise.
BATCH_PIXELS = 8 * 64 * 64
LEAST_IMAGES = 2
# A channel that its ReLU has closed has no variance; dividing by it would magnify what is left.
LEAST_RELATIVE_VARIANCE = 0.2
MEAN_SHIFT, MEAN_BIAS = 0.7, 0.5


def draw(network: Network, seed: int) -> dict[str, Array]:
    """Trained-like weights for `network`, drawn by canonical name; leaves them in the network.

    Empty for a network without weights. What a network or its backend does not support is left out:
    the kinds of layers if an operation has no count, the layers' real statistics if the backend
    does not train.
    """
    specs = network.weight_specs()
    if not specs:
        return {}
    if any(spec.native for spec in specs):
        return _near_own_start(network, seed)
    try:
        operations = network.operations()
    except Unsupported:
        operations = ()
    kinds = {operation.name: operation for operation in operations}
    layers = [spec.name.rpartition(".")[0] for spec in specs]
    weights = {
        spec.name: _value(spec, kinds.get(layer), seed)
        for spec, layer in zip(specs, layers, strict=True)
    }
    images, masks = batch(network.height, network.width, seed)
    statistics = [spec.name for spec in specs if not spec.trainable]
    if statistics:
        with contextlib.suppress(Unsupported):
            found = _statistics(network, weights, statistics, images, masks)
            weights |= {name: _off(name, found, seed) for name in statistics}
    network.set_weights(weights)
    last = next((o.name for o in reversed(operations) if o.name in layers), layers[-1])
    _scale_layer(network, last, weights, images[:LEAST_IMAGES])
    network.set_weights(weights)
    return weights


def _near_own_start(network: Network, seed: int) -> dict[str, Array]:
    """Weights of no canonical kind: what their own constructor draws, off by a seeded share."""
    weights = network.own_start(seed)
    for spec in network.weight_specs():
        if spec.trainable:
            random, value = _random(spec.name, seed), weights[spec.name]
            shift = random.normal(0.0, 0.02, spec.shape)
            weights[spec.name] = (value * random.uniform(0.8, 1.2, spec.shape) + shift).astype(
                np.float32
            )
    network.set_weights(weights)
    images, _ = batch(network.height, network.width, seed)
    with contextlib.suppress(Unsupported):
        network.recalibrate(images, len(images))
    return network.weights()


def batch(height: int, width: int, seed: int) -> tuple[Array, Array]:
    """Seeded images and masks, fewer of the larger ones (see `images_and_masks`)."""
    return images_and_masks(batch_size(height, width), height, width, seed)


def batch_size(height: int, width: int) -> int:
    """How many images `batch` gives."""
    return max(LEAST_IMAGES, BATCH_PIXELS // (height * width))


def images_and_masks(count: int, height: int, width: int, seed: int) -> tuple[Array, Array]:
    """(count, height, width, 1) float32 images of unit variance and uint8 masks, seeded.

    Coarse blocks and fine noise: resizing and pooling meet both edges and texture.
    """
    random = np.random.default_rng(seed)
    coarse = random.standard_normal((count, height // 16, width // 16))
    blocks = np.repeat(np.repeat(coarse, 16, axis=1), 16, axis=2)
    fine = random.standard_normal((count, height, width))
    images = ((blocks + fine) / np.sqrt(2)).astype(np.float32)
    return images[..., None], (blocks > 0.5).astype(np.uint8)


def _random(name: str, seed: int) -> np.random.Generator:
    words = hashlib.sha256(f"trained-like/{seed}/{name}".encode()).digest()
    return np.random.default_rng(int.from_bytes(words[:16], "little"))


def _value(spec: WeightSpec, operation: Operation | None, seed: int) -> Array:
    random = _random(spec.name, seed)
    own = spec.name.rpartition(".")[2]
    if own == "kernel":
        # He's rule keeps the variance through a ReLU. Of a transposed convolution's taps only one
        # in stride² meets an input.
        fan_in = prod(spec.shape[:-1])
        if operation is not None and operation.kind == "conv_transpose":
            fan_in /= prod(operation.stride)
        value = random.normal(0.0, np.sqrt(2 / fan_in), spec.shape)
    elif own in ("gamma", "variance"):
        value = random.uniform(0.7, 1.4, spec.shape)
    elif own == "alpha":
        value = random.uniform(0.05, 0.3, spec.shape)
    elif own == "beta":
        value = random.normal(MEAN_SHIFT, 0.2, spec.shape)
    else:
        value = random.normal(MEAN_BIAS if own == "bias" else 0.0, 0.1, spec.shape)
    return value.astype(np.float32)


def _statistics(
    network: Network, weights: dict[str, Array], names: list[str], images: Array, masks: Array
) -> dict[str, Array]:
    """Means and variances that the layers have on these images, by canonical name.

    A training step gives running' = m·running + (1 − m)·batch, linear in the batch's value, which
    does not depend on the start: two steps, from 0 and from 1, give m and then the batch's value.
    The learning rate is 0, so that the weights stay.
    """
    rows = np.arange(len(images), dtype=np.int64)
    options = TrainingOptions(loss="dice_ce", seed=0, batch_size=len(rows), dropout=False)
    trainer = network.trainer(options)
    trainer.set_data(images, masks)
    after = []
    for start in (0.0, 1.0):
        network.set_weights(weights | {n: np.full_like(weights[n], start) for n in names})
        trainer.step(rows, 0.0)
        trainer.losses()
        after.append(network.weights())
    shares = {name: 1 - (after[1][name] - after[0][name]).mean() for name in names}
    # A layer that nothing is connected to leaves its statistics alone.
    return {
        name: after[0][name] / shares[name] if shares[name] else weights[name] for name in names
    }


def _scale_layer(network: Network, layer: str, weights: dict[str, Array], images: Array) -> None:
    """Divide the weights of a layer by the root mean square of the logits, in place."""
    scale = np.sqrt(np.mean(np.square(network.predict(images), dtype=np.float64)))
    # A network whose logits are NaN or all zero is compared as it is.
    if not (np.isfinite(scale) and scale):
        return
    for own in ("kernel", "bias", "gamma", "beta"):
        if (name := f"{layer}.{own}") in weights:
            weights[name] = (weights[name] / scale).astype(np.float32)


def _off(name: str, found: dict[str, Array], seed: int) -> Array:
    random = _random(f"{name}/off", seed)
    layer, _, own = name.rpartition(".")
    variance = found[f"{layer}.variance"]
    variance = np.maximum(variance, LEAST_RELATIVE_VARIANCE * variance.mean())
    if own == "variance":
        value = variance * random.uniform(0.9, 1.2, variance.shape)
    else:
        value = found[name] + 0.1 * np.sqrt(variance) * random.standard_normal(variance.shape)
    return value.astype(np.float32)
