"""Is a network the same in every framework? Weights are carried around and answers compared.

For every network and size one framework draws trained-like weights (`harness.trained_like`), which
travel as a safetensors file. Every framework loads it, writes it again from its own layout, and
computes the logits of the same images, and one training step on the same batch.

A row stands for one direction: weights *written by* the source, loaded into the target. Where the
source gives back every bit of what it was given, its file is the file that the target has loaded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import asdict, dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import Any, Literal

import numpy as np

from backends.contract import Array
from backends.weights import read_arrays, to_bytes
from harness.launch.probes import Probe
from harness.trained_like import batch

TOLERANCE = 1e-4
# Where a network unpools, the places of maxima decide; two values that are equal to rounding have
# their place by chance, which moves an activation and all that lies around it. A fault shows in
# every image and at most pixels, such a tie in some images and in its surroundings.
MEDIAN_TOLERANCE = 1e-5
# Windows grow with the area: beyond this many pixels hardly an image is without such a tie.
TIES_FROM_PIXELS = 64 * 128
Quantity = Literal["logits", "loss", "gradient", "weights after a step", "carried weights"]
Size = tuple[int, int]
# What stands for the first framework's step on noisy images among the names of frameworks.
NOISY = "noise"
# What a worker's file of one training step calls each quantity.
PREFIXES: dict[Quantity, str] = {
    "loss": "loss",
    "gradient": "gradient",
    "weights after a step": "weight",
}
TRAINING_TOLERANCES: dict[Quantity, float] = {
    "loss": 1e-5,
    "gradient": 5e-3,
    "weights after a step": 1e-5,
}
# Where gradients hang on rounding (ICNet), no two frameworks can agree: the first framework takes
# the step again on images with this relative noise, and a few times its own change is allowed.
NOISE = 1e-6
NOISE_FACTOR = 3.0
# Networks that are being compared at a time: enough to keep every framework busy, and few because
# the files of one hold its weights several times.
LOOKAHEAD = 2


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """One quantity of one network in one direction.

    `max_abs_diff` is the greatest absolute difference and `scale` the size of what is compared:
    the root mean square of logits, the greatest absolute value of all else. `within` for logits: at
    most 1e-4 × max(1, scale). For a network that unpools (SegNet) both are those of the image that
    agrees best, and on images of more than 64×128 pixels it is enough that the median pixel agrees
    to 1e-5 × max(1, scale), since places of maxima that are equal to rounding are chance.

    For gradients: 5e-3 × scale, since ReLUs whose input is 0 to rounding open in one framework and
    not in the other. For the loss and each weight after the step: 1e-5 × max(1, its greatest
    value). For both, or three times what noise of 1e-6 in the images changes in the first
    framework, where that is more. `layer` is the first layer or weight that differs.
    """

    network: str
    quantity: Quantity
    source: str
    target: str
    height: int
    width: int
    max_abs_diff: float
    scale: float
    within: bool
    layer: str = ""

    def row(self) -> dict[str, Any]:
        """The comparison as a row of the table."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Place:
    """One network at one size, and the files of the comparison."""

    network: str
    height: int
    width: int
    folder: Path

    @property
    def size(self) -> dict[str, Any]:
        """What every question about this network names."""
        return {"name": self.network, "height": self.height, "width": self.width}

    @property
    def stem(self) -> str:
        """What the names of its files begin with."""
        return f"{self.network}-{self.height}x{self.width}"

    def file(self, what: str) -> Path:
        """Path of an array file of this place."""
        return self.folder / f"{self.stem}-{what}.safetensors"


def compare(
    grid: Sequence[tuple[str, Sequence[str]]],
    sizes: Sequence[Size],
    probes: dict[str, Probe],
    folder: Path,
    *,
    seed: int = 0,
    training: bool = True,
) -> Iterator[list[Comparison]]:
    """Compare each network between its frameworks, yielding the rows of one network and size.

    `grid` holds (network, backends). All frameworks work side by side, each on one question at a
    time. The training step is taken at the first size only: it is the dearest to compile, and what
    hangs on the size shows in the logits.
    """
    places = [
        (Place(network=network, height=height, width=width, folder=folder), backends, number == 0)
        for network, backends in grid
        for number, (height, width) in enumerate(sizes)
    ]
    running: deque[_Comparing] = deque()
    for place, backends, first in places:
        chosen = [probes[backend] for backend in backends]
        running.append(_Comparing(place, chosen, seed=seed, training=training and first))
        if len(running) > LOOKAHEAD:
            yield running.popleft().finish()
    while running:
        yield running.popleft().finish()


class _Comparing:
    """The questions about one network at one size, asked at construction."""

    def __init__(self, place: Place, probes: Sequence[Probe], *, seed: int, training: bool) -> None:
        self.place, self.probes = place, {probe.backend: probe for probe in probes}
        images, masks = batch(place.height, place.width, seed + 1)
        place.file("inputs").write_bytes(to_bytes({"images": images, "masks": masks}))
        weights = place.file("weights")
        drawn = probes[0].submit("draw", seed=seed, weights=weights, **place.size)
        self.carried: dict[str, Future[str]] = {}
        self.logits: dict[str, Future[bool]] = {}
        self.steps: dict[str, Future[list[str]]] = {}
        for name, probe in self.probes.items():
            again = place.file(f"{name}-weights")
            given = {"after": drawn, "weights": weights, **place.size}
            self.carried[name] = probe.submit("carry", out=again, **given)
            given["inputs"] = place.file("inputs")
            self.logits[name] = probe.submit("logits", out=place.file(f"{name}-logits"), **given)
            if training:
                self.steps[name] = probe.submit("step", out=place.file(f"{name}-step"), **given)

        if training:
            first = next(iter(self.probes))
            random = np.random.default_rng(seed + 2)
            noisy = images * (1 + NOISE * random.standard_normal(images.shape)).astype(np.float32)
            place.file("noisy").write_bytes(to_bytes({"images": noisy, "masks": masks}))
            out = place.file(f"{NOISY}-step")
            given = {"after": drawn, "weights": weights, "inputs": place.file("noisy"), "out": out}
            self.steps[NOISY] = self.probes[first].submit("step", **given, **place.size)

    def finish(self) -> list[Comparison]:
        """Wait for the answers and compare them; the files are gone afterwards."""
        rows = [row for pair in permutations(self.probes, 2) for row in self._direction(*pair)]
        trained = [name for name, step in self.steps.items() if step.result() and name != NOISY]
        rows += [row for pair in combinations(trained, 2) for row in self._training(*pair)]
        for path in self.place.folder.glob(f"{self.place.stem}-*"):
            path.unlink()
        return rows

    def _row(self, pair: tuple[str, str], quantity: Quantity, **values: Any) -> Comparison:
        place = self.place
        return Comparison(
            network=place.network,
            quantity=quantity,
            source=pair[0],
            target=pair[1],
            height=place.height,
            width=place.width,
            **values,
        )

    def _direction(self, source: str, target: str) -> Iterator[Comparison]:
        changed = self.carried[source].result()
        if changed:
            given = read_arrays(self.place.file("weights"))
            written = read_arrays(self.place.file(f"{source}-weights"))
            found = difference(given[changed], written.get(changed, np.zeros(0)))
            yield self._row(
                (source, target),
                "carried weights",
                max_abs_diff=found,
                scale=root_mean_square(given[changed]),
                within=False,
                layer=changed,
            )
        left, right = self._read(source, self.logits), self._read(target, self.logits)
        scale = root_mean_square(left["logits"])
        if self.logits[source].result():
            found, within = best_image(left["logits"], right["logits"], max(1.0, scale))
        else:
            found = difference(left["logits"], right["logits"])
            within = found <= TOLERANCE * max(1.0, scale)
        yield self._row(
            (source, target),
            "logits",
            max_abs_diff=found,
            scale=scale,
            within=within,
            layer="" if within else self._layer(source, target),
        )

    def _read(self, backend: str, answers: dict[str, Future[Any]]) -> dict[str, Array]:
        answers[backend].result()
        what = "logits" if answers is self.logits else "step"
        return read_arrays(self.place.file(f"{backend}-{what}"))

    def _layer(self, source: str, target: str) -> str:
        """The first layer whose output differs between the two."""
        orders, outputs = [], []
        for name in (source, target):
            out = self.place.file(f"{name}-activations")
            weights, inputs = self.place.file("weights"), self.place.file("inputs")
            order = self.probes[name].ask(
                "activations", weights=weights, inputs=inputs, out=out, **self.place.size
            )
            orders.append(order)
            outputs.append(read_arrays(out))
        return (
            first_difference(outputs[0], outputs[1], orders[0])
            or "after the last layer with weights"
        )

    def _training(self, source: str, target: str) -> Iterator[Comparison]:
        left, right = self._read(source, self.steps), self._read(target, self.steps)
        order = self.steps[source].result()
        plain, noisy = (
            self._read(next(iter(self.probes)), self.steps),
            self._read(NOISY, self.steps),
        )
        for quantity, prefix in PREFIXES.items():
            keys = {n: f"{prefix}/{n}" for n in ["loss", *order] if f"{prefix}/{n}" in left}
            found = {n: difference(left[key], right[key]) for n, key in keys.items()}
            scale = max(float(np.abs(left[key]).max(initial=0)) for key in keys.values())
            sizes = {
                n: scale if quantity == "gradient" else max(1.0, float(np.abs(left[key]).max()))
                for n, key in keys.items()
            }
            own = max(difference(plain[key], noisy[key]) / sizes[n] for n, key in keys.items())
            share = max(TRAINING_TOLERANCES[quantity], NOISE_FACTOR * own)
            limits = {n: share * size for n, size in sizes.items()}
            within = all(found[n] <= limits[n] for n in keys)
            yield self._row(
                (source, target),
                quantity,
                max_abs_diff=max(found.values()),
                scale=scale,
                within=within,
                layer="" if within else next(n for n in keys if found[n] > limits[n]),
            )


def difference(left: Array, right: Array) -> float:
    """Greatest absolute difference; infinite where shapes differ or a value is not finite."""
    if left.shape != right.shape:
        return float("inf")
    greatest = float(np.max(np.abs(left.astype(np.float64) - right), initial=0.0))
    return greatest if np.isfinite(greatest) else float("inf")


def best_image(left: Array, right: Array, scale: float) -> tuple[float, bool]:
    """Difference and verdict of the image that agrees best, for networks that unpool."""
    if left.shape != right.shape:
        return float("inf"), False
    found = min(difference(a, b) for a, b in zip(left, right, strict=True))
    if found <= TOLERANCE * scale:
        return found, True
    pixels = np.abs(left.astype(np.float64) - right).max(-1)
    crowded = left.shape[1] * left.shape[2] > TIES_FROM_PIXELS
    medians = np.median(pixels.reshape(len(pixels), -1), axis=1)
    # A comparison with NaN is false.
    return found, crowded and bool(min(medians) <= MEDIAN_TOLERANCE * scale)


def root_mean_square(values: Array) -> float:
    """Root mean square of all values, 0 where there are none."""
    return float(np.sqrt(np.mean(np.square(values, dtype=np.float64)))) if values.size else 0.0


def first_difference(
    source: dict[str, Array], target: dict[str, Array], order: Sequence[str]
) -> str:
    """The first layer, in the order of execution, whose output differs; "" where none does.

    Outputs count as different beyond 1e-4 of max(1, their root mean square).
    """
    for name in order:
        if name not in target:
            return f"{name} (missing)"
        limit = TOLERANCE * max(1.0, root_mean_square(source[name]))
        if difference(source[name], target[name]) > limit:
            return name
    return ""
