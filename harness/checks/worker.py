"""The worker process that answers questions about networks (`harness.worker` runs cells).

Started as `python -m harness.checks.worker BACKEND THREADS QUESTIONS_FD ANSWERS_FD`; one process
serves all networks of one framework. Questions and answers are JSON lines, arrays lie in
safetensors files that both sides name. Nothing is ever unpickled.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from backends.contract import Backend, Network, Runtime, Trainer, TrainingOptions
from backends.errors import BackendError
from backends.weights import digest, read_arrays, read_weights, starting_values, to_bytes
from harness import registry
from harness.checks import examination, random_weights
from harness.checks.pooling_ties import untie
from harness.errors import FetalbenchError
from harness.measuring import cost

LEARNING_RATE = 1e-3
# At its first step Adam moves a weight by lr · g / (|g| + ε), with the usual 1e-7 hardly more than
# the sign of g: rounding noise in a gradient of nearly 0 would decide where a weight goes. With
# ε = 1 the update is smooth in g.
ADAM_EPSILON = 1.0
# Of the step in float64: its rounding asks for no large batch, and its convolutions are slow.
STEP_IMAGES = 2


class CheckWorker:
    """One framework, and the network of the latest question."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._key: tuple[str, int, int] | None = None
        self._network: Network | None = None
        self._trainer: Trainer | None = None

    def network(self, name: str, height: int, width: int) -> Network:
        """The network of that name and size; kept, because building and compiling takes time."""
        if self._key != (name, height, width) or self._network is None:
            self._network = self._trainer = None
            self._network = registry.build(self._backend, name, height=height, width=width)
            self._key = (name, height, width)
        return self._network

    def trainer(self, name: str, height: int, width: int) -> Trainer:
        """A trainer of that network without dropout, for batches of `random_weights.batch`, fresh.

        Kept, because compiling a step takes tens of seconds: all that trains here shares it.
        """
        network = self.network(name, height, width)
        if self._trainer is None:
            options = TrainingOptions(
                loss="dice_ce",
                seed=0,
                batch_size=random_weights.batch_size(height, width),
                adam_epsilon=ADAM_EPSILON,
                dropout=False,
            )
            self._trainer = network.trainer(options)
        else:
            self._trainer.losses()
            state = self._trainer.state()
            self._trainer.set_state({key: np.zeros_like(value) for key, value in state.items()})
        return self._trainer

    def cost(self, name: str, height: int, width: int) -> dict[str, Any]:
        """Parameters and operations, and the `reason` if those are not counted."""
        found, reason = cost.of(self.network(name, height, width))
        return found.model_dump() | {"reason": reason}

    def trains(self) -> bool:
        """Whether this framework trains, as its backend declares."""
        return self._backend.capabilities.trains

    def draw(
        self, name: str, height: int, width: int, seed: int, weights: str, inputs: str
    ) -> bool:
        """Write trained-like weights to the file `weights`; returns whether the network unpools.

        If it does, no pooling window of the images in the file `inputs` is near a tie.
        """
        network = self.network(name, height, width)
        drawn = random_weights.draw(network, seed)
        images = read_arrays(Path(inputs))["images"]
        unpools = untie(network, drawn, images, np.random.default_rng(seed))
        _write(weights, drawn)
        return unpools

    def carry(self, name: str, height: int, width: int, weights: str, out: str) -> str:
        """Load a weights file and write it again from this framework's layout.

        Returns the canonical name of the first weight that differs. If none does, returns "" and
        removes the file, which equals the given one.
        """
        given = read_arrays(Path(weights))
        _write(out, self._loaded(name, height, width, weights).weights())
        written = read_arrays(Path(out))
        for key in given:
            if key not in written or not np.array_equal(given[key], written[key]):
                return key
        Path(out).unlink()
        return ""

    def logits(
        self, name: str, height: int, width: int, weights: str, inputs: str, out: str
    ) -> None:
        """Write the logits of the images in the file `inputs`."""
        network = self._loaded(name, height, width, weights)
        _write(out, {"logits": network.predict(read_arrays(Path(inputs))["images"])})

    def exact(
        self, name: str, height: int, width: int, weights: str, inputs: str, out: str
    ) -> None:
        """Write the float64 logits of the images in the file `inputs`; masks come from these."""
        network = self._loaded(name, height, width, weights)
        _write(out, {"logits": network.exact()(read_arrays(Path(inputs))["images"])})

    def activations(
        self, name: str, height: int, width: int, weights: str, inputs: str, out: str
    ) -> list[str]:
        """Write the outputs of all named layers; returns the names in order of execution."""
        network = self._loaded(name, height, width, weights)
        found = network.activations(read_arrays(Path(inputs))["images"])
        _write(out, found)
        return list(found)

    def step(
        self, name: str, height: int, width: int, weights: str, inputs: str, out: str
    ) -> list[str]:
        """One float64 training step without dropout: write its loss, gradients and weights.

        Returns the names of the weights in the order of the layers; none if nothing is trained.
        """
        if not self._backend.capabilities.trains:
            return []
        network = self._loaded(name, height, width, weights)
        data = read_arrays(Path(inputs))
        images, masks = data["images"][:STEP_IMAGES], data["masks"][:STEP_IMAGES]
        options = TrainingOptions(
            loss="dice_ce",
            seed=0,
            batch_size=len(images),
            adam_epsilon=ADAM_EPSILON,
            dropout=False,
        )
        _write(out, network.exact_step(images, masks, options, LEARNING_RATE))
        return [spec.name for spec in network.weight_specs()]

    def examine(self, name: str, weights: str) -> list[dict[str, str]]:
        """The findings that concern this implementation alone.

        Without a file of weights the network is examined with those that training starts from.
        """
        card = registry.network(name).card
        place = {"name": name, "height": examination.SIDE, "width": examination.SIDE}
        if weights:
            given = read_arrays(Path(weights))
        else:
            given = starting_values(self.network(**place), 0, card.he_normal)
        examined = examination.Implementation(
            backend=self._backend,
            build=partial(registry.build, self._backend, name),
            home=lambda: self.network(**place),
            trainer=lambda: self.trainer(**place),
            weights=given,
            he_normal=card.he_normal,
            unused=card.unused,
        )
        return [finding.row() for finding in examination.findings(examined)]

    def to_native(self, name: str, height: int, width: int, weights: str, out: str) -> None:
        """Write a canonical weights file in the framework's own form."""
        self._loaded(name, height, width, weights).write_native(Path(out))

    def from_native(self, name: str, height: int, width: int, weights: str, out: str) -> str:
        """Write a file in the framework's own form as a canonical one; returns its digest."""
        network = self.network(name, height, width)
        network.read_native(Path(weights))
        kept = network.weights()
        _write(out, kept)
        return digest(kept)

    def _loaded(self, name: str, height: int, width: int, weights: str) -> Network:
        network = self.network(name, height, width)
        network.set_weights(read_weights(Path(weights), network.weight_specs()))
        return network


VERBS = frozenset(
    {
        "cost",
        "trains",
        "draw",
        "carry",
        "logits",
        "exact",
        "activations",
        "step",
        "examine",
        "to_native",
        "from_native",
    }
)


def _write(path: str, arrays: dict[str, np.ndarray]) -> None:
    Path(path).write_bytes(to_bytes(arrays))


def _answer(checker: CheckWorker, question: dict[str, Any]) -> dict[str, Any]:
    try:
        verb = question.pop("verb")
        if verb not in VERBS:
            return {"crash": f"no such question: {verb!r}"}
        return {"value": getattr(checker, verb)(**question)}
    except (FetalbenchError, BackendError) as error:
        return {"error": str(error), "exit_code": error.exit_code}
    except Exception as error:
        traceback.print_exc()
        lines = str(error).strip().splitlines() or [""]
        return {"crash": f"{type(error).__name__}: {lines[0]}"}


def main() -> int:
    """Answer questions until the parent closes its end."""
    name, threads, questions_fd, answers_fd = sys.argv[1:]
    with os.fdopen(int(questions_fd)) as questions, os.fdopen(int(answers_fd), "w") as answers:
        runtime = Runtime(device="cpu", threads=int(threads), deterministic=True)
        checker = CheckWorker(registry.load_backend(name)(runtime))
        for line in questions:
            answers.write(json.dumps(_answer(checker, json.loads(line)), allow_nan=False) + "\n")
            answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
