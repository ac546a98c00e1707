"""What 8-bit integers gain on this CPU: int8 plans beside float32 ones, in turns in one process.

    python -m benchmarks.quantised --networks rfbsnet,unet --size 256 --threads 2

Blocks of queries of each plan alternate, so that drift of the machine falls on all alike. Latency
does not depend on the weights: these are starting weights, calibrated on noise. What a plan costs
in Dice is measured with trained weights: `fetalbench measure NET --protocol cpu_plans --weights
FILE --data FOLDER`. Run it on an idle machine; on a busy one, `--threads 1 --clock cpu` counts the
time that the processor spends on the query, which other processes disturb less.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from time import perf_counter, process_time_ns

import numpy as np

from backends.contract import Inference, Runtime
from backends.errors import Unsupported
from harness import cores, registry
from harness.deploy.loading import build_network
from harness.measuring.timer import no_garbage_collection, time_query
from harness.protocol import Input

PLANS = ("onnxruntime", "openvino", "openvino-bfloat16", "onnxruntime-int8", "openvino-int8")
BASE = "openvino"
CALIBRATION = 8


def cpu_time(inference: Inference) -> int:
    """Nanoseconds of one query on the processor, all threads together."""
    begin = process_time_ns()
    inference.synchronise(inference.launch())
    return process_time_ns() - begin


CLOCKS: dict[str, Callable[[Inference], int]] = {
    "wall": lambda inference: time_query(inference)[0],
    "cpu": cpu_time,
}


def compare(
    name: str, size: int, threads: int, blocks: int, queries: int, clock: str
) -> dict[str, object]:
    """Median end-to-end milliseconds of each plan at batch 1, and their gain over OpenVINO's."""
    chosen = Input(height=size, width=size)
    _, network = build_network(name, "torch", chosen, Runtime(threads=threads), None)
    images = np.random.default_rng(0).standard_normal((CALIBRATION, size, size, 1), np.float32)
    network.calibrate(images)
    row: dict[str, object] = {"network": name}
    ready, times = {}, {}
    for plan in PLANS:
        begin = perf_counter()
        try:
            ready[plan] = network.prepare(images[:1], plan=plan, quantity="end_to_end")
        except Unsupported as reason:
            row[plan] = str(reason)
            continue
        times[plan] = []
        if plan.endswith("int8"):
            row[f"{plan} prepared_s"] = round(perf_counter() - begin, 1)
    with no_garbage_collection():
        for block in range(blocks + 1):
            for plan, inference in ready.items():
                found = [CLOCKS[clock](inference) for _ in range(queries)]
                # The first block warms up.
                times[plan] += found if block else []
    medians = {plan: float(np.median(found)) / 1e6 for plan, found in times.items()}
    row |= {f"{plan} ms": round(ms, 2) for plan, ms in medians.items()}
    return row | {f"{plan} gain": round(medians[BASE] / ms, 2) for plan, ms in medians.items()}


def main() -> None:
    """Print one row a network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=cores.count())
    parser.add_argument("--blocks", type=int, default=7)
    parser.add_argument("--queries", type=int, default=5, help="of each plan in each block")
    parser.add_argument("--clock", choices=CLOCKS, default="wall")
    options = parser.parse_args()
    names = options.networks.split(",") if options.networks else list(registry.networks())
    for name in names:
        if registry.network(name).implements("torch"):
            chosen = (options.threads, options.blocks, options.queries, options.clock)
            row = compare(name, options.size, *chosen)
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
