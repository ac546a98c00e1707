"""A look at how fast networks train and infer here: `python -m harness.worker.probe QUESTION`.

The question is JSON (`harness.run.speeds` asks), and so is each line of the answer, one per
network. A few steps on random images: seconds, not a measurement.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from backends.contract import Network, Runtime, TrainingOptions
from backends.errors import BackendError, Unsupported, is_out_of_memory
from backends.weights import initial_values
from harness import registry
from harness.errors import FetalbenchError
from harness.measuring import cost

# For each of the two kinds of call and each network; the first call, which compiles, is on top.
CALL_SECONDS = 0.5
# A first step that took so long is not repeated: on a CPU a large network's step takes seconds.
LONG_SECONDS = 1.5
INFERENCE_IMAGES = 4
# Batch normalisation asks for two.
LEAST_BATCH = 2
# Forward and backward against forward alone.
STEP_OF_INFERENCE = 3


def probe(question: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Seconds per image of training and of inference, and FLOPs, of one network after another."""
    device = question["device"]
    backend = registry.load_backend(question["backend"])(
        Runtime(device=device, threads=question["threads"], deterministic=True)
    )
    begin = time.monotonic()
    for number, name in enumerate(question["networks"]):
        # Two make a law of FLOPs; more are tried while there is time.
        if number >= 2 and time.monotonic() - begin > question["seconds"]:
            break
        size = {name: question[name] for name in ("height", "width", "classes")}
        network = registry.build(backend, name, **size)
        card = registry.network(name).card
        network.set_weights(initial_values(network.weight_specs(), 0, card.he_normal))
        yield {"network": name, "flops": _flops(network)} | _times(network, question)


def _flops(network: Network) -> int | None:
    try:
        return cost.count(network.operations(), network.weight_specs()).flops
    except Unsupported:
        return None


def _times(network: Network, question: dict[str, Any]) -> dict[str, float | None]:
    random = np.random.default_rng(0)
    batch = question["batch_size"]
    shape = (max(batch, INFERENCE_IMAGES), network.height, network.width)
    images = random.standard_normal((*shape, 1), np.float32)
    masks = random.integers(0, 2, shape).astype(np.uint8)
    one = images[:1]
    inference = _seconds(lambda: network.predict(one))
    step = STEP_OF_INFERENCE * inference
    batch = int(min(batch, max(LEAST_BATCH, LONG_SECONDS / step)))
    try:
        options = TrainingOptions(loss=question["loss"], seed=0, batch_size=batch)
        trainer = network.trainer(options)
        trainer.set_data(images, masks)
        trainer.start_epoch(0)
        rows = np.arange(batch, dtype=np.int64)

        def train() -> None:
            trainer.step(rows, 1e-5)
            trainer.losses()

        return {"inference_s": inference, "training_s": _seconds(train) / batch}
    except Unsupported:
        return {"inference_s": inference, "training_s": None}


def _seconds(call: Callable[[], Any]) -> float:
    """Median seconds of a few calls after the first, or the first alone if it took long."""
    taken: list[float] = []
    begin = time.perf_counter()
    while not taken or time.perf_counter() - begin < CALL_SECONDS + taken[0]:
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
        if taken[0] > LONG_SECONDS:
            return taken[0]
    return float(np.median(taken[1:] or taken))


def main() -> int:
    """Answer one question, each network as it is done: the parent waits for so long only."""
    try:
        for found in probe(json.loads(sys.argv[1])):
            _say(found)
    except (FetalbenchError, BackendError) as error:
        _say({"reason": str(error)})
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        _say({"reason": "out of memory."})
    return 0


def _say(answer: dict[str, Any]) -> None:
    # Frameworks print what they like before.
    print("\n" + json.dumps(answer, allow_nan=False), flush=True)


if __name__ == "__main__":
    sys.exit(main())
