"""The examination of one implementation of a network: what each must do, finding by finding.

Runs in a worker, on the contract alone. What needs two frameworks is in `harness.checks.parity`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase

import numpy as np

from backends.contract import (
    Array,
    Backend,
    Network,
    Trainer,
    Weights,
    WeightSpec,
)
from backends.errors import (
    BackendError,
    SizeError,
    Unsupported,
    WeightsError,
)
from backends.weights import starting_values
from harness.checks.random_weights import batch, images_and_masks

SIDE = 64
# What is really computed, and what is only traced.
OTHER_SIZE = (SIDE, 2 * SIDE)
TRACED_SIZES = ((256, 256),)
TOLERANCE = 1e-4
# The loss must have fallen after one of these steps: some networks overshoot at first.
LEAST_STEPS, MOST_STEPS = 4, 8
# Adam's ε is 1 here (see `harness.checks.worker`), which makes a step about rate × gradient.
LEARNING_RATE = 0.1


CHANNELS_ELSEWHERE = (
    ": the channels stand elsewhere; PyTorch's logits are (n, classes, height, width), Keras' and "
    "Flax's (n, height, width, classes)."
)


class Failed(Exception):
    """A requirement that is not met; one sentence."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One requirement: `passed`, `failed`, or `skipped` with the reason in `detail`."""

    what: str
    verdict: str
    detail: str = ""

    def row(self) -> dict[str, str]:
        """The finding as a row of the table."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Implementation:
    """What is examined: a network in one framework, and trained-like weights for 64×64.

    `build` takes height=, width= and classes=. `home` gives the network at 64×64 and `trainer` a
    fresh trainer of it, for batches of `random_weights.batch` without dropout. The worker keeps
    both, since parity uses them too and a second one would be compiled again.
    """

    backend: Backend
    build: Callable[..., Network]
    home: Callable[[], Network]
    trainer: Callable[[], Trainer]
    weights: Weights
    he_normal: Sequence[str] = ()
    unused: Sequence[str] = ()

    def network(self, height: int, width: int, classes: int = 2) -> Network:
        """A network of that size, with the weights that its framework gives it."""
        return self.build(height=height, width=width, classes=classes)


def findings(examined: Implementation) -> Iterator[Finding]:
    """All findings in order; an examination that breaks is a failed one and stops no other."""
    network = None
    failures: dict[str, str] = {}
    for what, examine in EXAMINATIONS.items():
        try:
            network = network or examined.home()
            yield Finding(what=what, verdict="passed", detail=examine(examined, network))
            continue
        except Unsupported as error:
            yield Finding(what=what, verdict="skipped", detail=str(error))
            continue
        except (Failed, BackendError) as error:
            detail = str(error)
        except Exception as error:
            detail = in_one_line(error)
        # A network that does not run fails in every examination, with one and the same message.
        # Of the same message the sizes of what was tried may differ.
        key = re.sub(r"\d+", "", detail)
        if key in failures:
            yield Finding(what=what, verdict="skipped", detail=f"as {failures[key]!r}")
        else:
            failures[key] = what
            yield Finding(what=what, verdict="failed", detail=detail)


# What the frameworks say of a mistake that people make, and what it most likely is.
_HINTS = (
    (
        r"expected input\[.*\] to have \d+ channels?, but got \d+|view size is not compatible",
        "does the network take channels last? PyTorch's images are (n, 1, height, width), in "
        "channels-last memory: `reshape` them, `view` refuses",
    ),
)


def in_one_line(error: Exception) -> str:
    """A framework's exception as one line, with what it most likely means."""
    first = (str(error).strip().splitlines() or [""])[0]
    hints = [hint for pattern, hint in _HINTS if re.search(pattern, first)]
    return f"{type(error).__name__}: {first}" + "".join(f" ({hint})" for hint in hints)


def names(examined: Implementation, network: Network) -> str:
    """Weights have distinct names and shapes that depend on neither size nor order of building."""
    specs = network.weight_specs()
    if len({spec.name for spec in specs}) < len(specs):
        twice = next(s.name for s in specs if sum(t.name == s.name for t in specs) > 1)
        raise Failed(f"two weights are named {twice!r}: give every layer a path of its examined.")
    other = examined.network(*OTHER_SIZE).weight_specs()
    if set(other) != set(specs):
        odd = sorted(spec.name for spec in set(other) ^ set(specs))[0]
        raise Failed(f"weight {odd!r} depends on the input's size.")
    return f"{len(specs)} weights"


def shapes(examined: Implementation, network: Network) -> str:
    """Logits have the input's height and width, at several sizes and numbers of classes."""
    done = []
    for height, width in ((SIDE, SIDE), OTHER_SIZE):
        built = network if (height, width) == (SIDE, SIDE) else examined.network(height, width)
        images, _ = images_and_masks(1, height, width, 1)
        found = built.predict(images).shape
        if found != (1, height, width, 2):
            elsewhere = sorted(found) == sorted((1, height, width, 2))
            raise Failed(
                f"logits at {height}×{width} have shape {found}, not {height, width, 2}"
                + (CHANNELS_ELSEWHERE if elsewhere else ".")
            )
        done.append(f"{height}×{width}")
    for height, width in TRACED_SIZES:
        _traced(examined, height, width, 2)
        done.append(f"{height}×{width}")
    _traced(examined, SIDE, SIDE, 3)
    return ", ".join([*done, "3 classes"])


def _traced(examined: Implementation, height: int, width: int, classes: int) -> None:
    built = examined.network(height, width, classes)
    try:
        found = built.operations()[-1].output_size
    except Unsupported:
        # An operation without a count, or a backend that counts nothing: compute instead.
        found = built.predict(images_and_masks(1, height, width, 1)[0]).shape[1:]
    if found != (height, width, classes):
        raise Failed(f"logits at {height}×{width} have size {found}, not {height, width, classes}.")


def refusals(examined: Implementation, network: Network) -> str:
    """Sizes and channel counts that the network cannot take are refused, not computed."""
    images = np.zeros((1, SIDE, SIDE, 3), np.float32)
    odd = SIDE + 36
    attempts: dict[str, Callable[[], object]] = {
        "3 channels": lambda: network.predict(images),
        f"{odd}×{odd}": lambda: examined.network(odd, odd),
    }
    for what, attempt in attempts.items():
        try:
            attempt()
        except SizeError:
            continue
        raise Failed(f"images of {what} are accepted, not refused.")
    return ", ".join(attempts)


def round_trip(examined: Implementation, network: Network) -> str:
    """Weights come back from the layers as they went in, to the bit."""
    if not network.weight_specs():
        return "no weights"
    network.set_weights(examined.weights)
    after = network.weights()
    for name, value in examined.weights.items():
        if not np.array_equal(after[name], value):
            raise Failed(f"weight {name!r} comes back with other values.")
    first: WeightSpec = network.weight_specs()[0]
    try:
        network.set_weights({k: v for k, v in examined.weights.items() if k != first.name})
    except WeightsError:
        return f"{len(after)} weights"
    raise Failed(f"weights without {first.name!r} are accepted, not refused.")


def finite(examined: Implementation, network: Network) -> str:
    """Logits are finite, for images of noise, of one value and of large values."""
    if examined.weights:
        network.set_weights(examined.weights)
    images, _ = images_and_masks(1, SIDE, SIDE, 2)
    kinds = {"noise": images, "one value": np.zeros_like(images), "large values": 100 * images}
    for kind, values in kinds.items():
        if not np.isfinite(network.predict(values)).all():
            raise Failed(f"logits of images of {kind} hold NaN or infinity.")
    return ", ".join(kinds)


def raw(examined: Implementation, network: Network) -> str:
    """The output is logits: neither probabilities nor their logarithms."""
    if examined.weights:
        network.set_weights(examined.weights)
    logits = network.predict(100 * images_and_masks(2, SIDE, SIDE, 2)[0]).astype(np.float64)
    sums = {"softmax": logits.sum(-1), "log-softmax": np.exp(np.minimum(logits, 1)).sum(-1)}
    bounded = {"softmax": logits.min() >= 0, "log-softmax": logits.max() <= 0}
    for function, total in sums.items():
        if bounded[function] and np.allclose(total, 1, atol=1e-3):
            raise Failed(f"the output is that of a {function}: return the logits before it.")
    if logits.min() >= 0 and logits.max() <= 1:
        raise Failed("the output stays within 0 and 1 as a sigmoid's: return the logits before it.")
    return f"from {logits.min():.3g} to {logits.max():.3g}"


def seen(examined: Implementation, network: Network) -> str:  # noqa: ARG001
    """All that the logits depend on is among the weights that an optimiser gets."""
    unseen = network.unseen_weights()
    if unseen:
        raise Failed(
            f"{unseen[0]!r}{f' and {len(unseen) - 1} more' if unseen[1:] else ''}: no optimiser "
            "sees it, and no file keeps it. Is its layer in a Python list or dict? Use "
            "nn.ModuleList, nn.ModuleDict or nn.Parameter."
        )
    return "all"


def stateless(examined: Implementation, network: Network) -> str:
    """Inference changes no weight, and an image's logits do not depend on images before it."""
    if examined.weights:
        network.set_weights(examined.weights)
    images, others = (images_and_masks(2, SIDE, SIDE, seed)[0] for seed in (5, 6))
    before = network.weights()
    first = network.predict(images)
    again = network.predict(images)
    network.predict(others)
    third = network.predict(images)
    after = network.weights()
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    if changed:
        raise Failed(
            f"{changed[0]!r} changes in inference: a normalisation stays in training mode, or the "
            "network keeps state between calls."
        )
    if not np.array_equal(first, again):
        raise Failed(
            "the same images have other logits at the second call: dropout is left on, or the "
            "network keeps state between calls."
        )
    if not np.array_equal(first, third):
        raise Failed("logits depend on the images before: the network keeps state between calls.")
    return "three calls agree"


def batches(examined: Implementation, network: Network) -> str:
    """An image has the same logits alone as in a batch."""
    if examined.weights:
        network.set_weights(examined.weights)
    images, _ = images_and_masks(8, SIDE, SIDE, 3)
    together = network.predict(images)
    found = _difference(network.predict(images[5:6]), together[5:6])
    if found > TOLERANCE:
        raise Failed(
            f"an image alone has logits that differ by {found:.1e} from those in a batch: is a "
            "batch normalisation left in training mode?"
        )
    return f"differ by {found:.1e}"


def learning(examined: Implementation, network: Network) -> str:
    """Every trainable weight has a gradient, and a few steps bring the training loss down."""
    trainable = [spec.name for spec in network.weight_specs() if spec.trainable]
    if not trainable or not examined.backend.capabilities.trains:
        raise Unsupported("there is nothing to train, or the backend does not train.")
    network.set_weights(starting_values(network, 0, examined.he_normal))
    images, masks = batch(SIDE, SIDE, 4)
    trainer = examined.trainer()
    trainer.set_data(images, masks)
    rows = np.arange(len(images), dtype=np.int64)
    trainer.step(rows, LEARNING_RATE)
    # Adam's first moment after one step is the gradient times 1 − β₁.
    moments = trainer.state()
    for name in trainable:
        moment = moments[f"m/{name}"]
        if not np.isfinite(moment).all():
            raise Failed(f"the gradient of weight {name!r} holds NaN or infinity.")
        unused = any(fnmatchcase(name, pattern) for pattern in examined.unused)
        if not moment.any() and not unused:
            raise Failed(
                f"weight {name!r} has no gradient: is its layer connected? If a library builds it "
                "for nothing, name it in the card's `unused`."
            )
    losses = trainer.losses()
    while len(losses) < LEAST_STEPS or (losses[-1] >= losses[0] and len(losses) < MOST_STEPS):
        trainer.step(rows, LEARNING_RATE)
        losses = np.append(losses, trainer.losses())
    if not (np.isfinite(losses).all() and losses[-1] < losses[0]):
        raise Failed(f"the training loss does not fall: {losses[0]:.3f}, then {losses[-1]:.3f}.")
    return f"{len(trainable)} gradients, loss {losses[0]:.3f} → {losses[-1]:.3f}"


def _difference(left: Array, right: Array) -> float:
    return float(np.abs(left.astype(np.float64) - right).max() / max(1.0, float(right.std())))


EXAMINATIONS: dict[str, Callable[[Implementation, Network], str]] = {
    "names of the weights": names,
    "shapes of the logits": shapes,
    "wrong input is refused": refusals,
    "weights come back": round_trip,
    "finite values": finite,
    "logits, not probabilities": raw,
    "an optimiser sees all": seen,
    "no state between calls": stateless,
    "batch of 1 = batch of n": batches,
    "gradients, falling loss": learning,
}
