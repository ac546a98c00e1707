"""Is a network the same in every framework? Weights are carried over and answers compared.

For every network and size one framework draws trained-like weights
(`harness.checks.random_weights`), which travel as a safetensors file. Every framework
loads it, writes it again from its own layout, and computes the logits of the same images, and
in float64 one training step on the same batch.

A row stands for one direction: weights *written by* the source, loaded into the target. Where the
source gives back every bit of what it was given, its file is the file that the target has loaded.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import combinations, permutations
from pathlib import Path
from typing import Any

import numpy as np

from backends.contract import Array
from backends.weights import read_arrays, to_bytes
from harness.checks.clients import WorkerClient, WorkerFault
from harness.checks.random_weights import batch
from harness.checks.tolerances import (
    PREFIXES,
    TOLERANCE,
    ParityRow,
    Quantity,
    agree,
    compare_steps,
    difference,
    first_difference,
    incomparable,
    root_mean_square,
)

Size = tuple[int, int]
Pair = tuple[str, str]
# Networks that are compared at a time: enough to keep every framework busy, and few because the
# files of one hold its weights several times.
LOOKAHEAD = 2


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
    workers: dict[str, WorkerClient],
    folder: Path,
    *,
    seed: int = 0,
    training: bool = True,
) -> Iterator[list[ParityRow]]:
    """Compare each network between its frameworks, yielding the rows of one network and size.

    `grid` holds (network, backends). All frameworks work side by side, each on one question at a
    time. The training step is taken at the first size only: it takes longest to compile, and what
    depends on the size shows in the logits. What breaks in one framework is a row of its own, not
    within; the others continue.
    """
    places = [
        (Place(network=network, height=height, width=width, folder=folder), backends, number == 0)
        for network, backends in grid
        for number, (height, width) in enumerate(sizes)
    ]
    running: deque[Comparing] = deque()
    for place, backends, first in places:
        chosen = [workers[backend] for backend in backends]
        running.append(Comparing(place, chosen, seed=seed, training=training and first))
        if len(running) > LOOKAHEAD:
            yield running.popleft().finish()
    while running:
        yield running.popleft().finish()


def drawing(workers: Sequence[WorkerClient]) -> str:
    """Which framework draws the weights: the first that trains, else the first.

    Running statistics come from training steps. A worker that fails at this question fails at every
    later one too, which then becomes its row.
    """
    for worker in workers:
        try:
            if worker.ask("trains"):
                return worker.backend
        except WorkerFault:
            continue
    return workers[0].backend


class Comparing:
    """The questions about one network at one size, asked at construction."""

    def __init__(
        self, place: Place, workers: Sequence[WorkerClient], *, seed: int, training: bool
    ) -> None:
        self.place, self.workers = place, {worker.backend: worker for worker in workers}
        self.first = drawing(workers)
        self.weights = place.file("weights")
        inputs = place.file("inputs")
        images, masks = batch(place.height, place.width, seed + 1)
        inputs.write_bytes(to_bytes({"images": images, "masks": masks}))
        given = {"weights": self.weights, **place.size}
        drawer = self.workers[self.first]
        self.drawn: Future[bool] = drawer.submit("draw", seed=seed, inputs=inputs, **given)
        self.carried: dict[str, Future[str]] = {}
        self.logits: dict[str, Future[None]] = {}
        self.steps: dict[str, Future[list[str]]] = {}
        given |= {"after": self.drawn}
        for name, worker in self.workers.items():
            self.carried[name] = worker.submit("carry", out=place.file(f"{name}-weights"), **given)
            out = place.file(f"{name}-logits")
            self.logits[name] = worker.submit("logits", inputs=inputs, out=out, **given)
            if training:
                out = place.file(f"{name}-step")
                self.steps[name] = worker.submit("step", inputs=inputs, out=out, **given)

    def finish(self) -> list[ParityRow]:
        """Wait for the answers and compare them; the files are gone afterwards."""
        rows = []
        for pair in permutations(self.workers, 2):
            rows += self._caught(pair, "logits", self._direction(*pair))
        trained = [name for name, step in self.steps.items() if _trained(step)]
        for pair in combinations(trained, 2):
            rows += self._caught(pair, "loss", self._training(*pair))
        for path in self.place.folder.glob(f"{self.place.stem}-*"):
            path.unlink()
        return rows

    def _row(self, pair: Pair, quantity: Quantity, **values: Any) -> ParityRow:
        place = self.place
        return ParityRow(
            network=place.network,
            quantity=quantity,
            source=pair[0],
            target=pair[1],
            height=place.height,
            width=place.width,
            **values,
        )

    def _caught(
        self, pair: Pair, quantity: Quantity, rows: Iterator[ParityRow]
    ) -> Iterator[ParityRow]:
        """The rows; a framework that fails gives one of its own, with its sentence."""
        try:
            yield from rows
        except WorkerFault as fault:
            unknown = {"max_abs_diff": float("inf"), "scale": float("inf"), "within": False}
            yield self._row(pair, quantity, reason=str(fault), **unknown)

    def _direction(self, source: str, target: str) -> Iterator[ParityRow]:
        changed = self.carried[source].result()
        if changed:
            given = read_arrays(self.weights)
            written = read_arrays(self.place.file(f"{source}-weights"))
            values = {"given": given[changed], source: written.get(changed, np.zeros(0))}
            yield self._row(
                (source, target),
                "carried weights",
                max_abs_diff=difference(*values.values()),
                scale=root_mean_square(given[changed]),
                within=False,
                rule="the same bits",
                layer=changed,
                reason=incomparable(values),
            )
        values = {name: self._read(name, self.logits)["logits"] for name in (source, target)}
        found = difference(*values.values())
        within = agree(found, TOLERANCE)
        untied = ", no pooling near a tie" if self.drawn.result() else ""
        yield self._row(
            (source, target),
            "logits",
            max_abs_diff=found,
            scale=root_mean_square(values[source]),
            within=within,
            rule=f"{TOLERANCE:.0e} at every value{untied}",
            layer="" if within else self._layer(source, target),
            reason=incomparable(values),
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
            order = self.workers[name].ask(
                "activations",
                weights=self.weights,
                inputs=self.place.file("inputs"),
                out=out,
                **self.place.size,
            )
            orders.append(order)
            outputs.append(read_arrays(out))
        return (
            first_difference(outputs[0], outputs[1], orders[0])
            or "after the last layer with weights"
        )

    def _training(self, source: str, target: str) -> Iterator[ParityRow]:
        steps = {name: self._read(name, self.steps) for name in (source, target)}
        names = ["loss", *self.steps[source].result()]
        for quantity in PREFIXES:
            values = compare_steps(quantity, names, steps)
            yield self._row((source, target), quantity, **values)


def _trained(step: Future[list[str]]) -> bool:
    """Whether the framework trains this network; one that fails at it has a row that says so."""
    try:
        return bool(step.result())
    except WorkerFault:
        return True
