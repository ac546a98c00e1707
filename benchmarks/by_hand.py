"""Our plans against the same runtime called by hand, in one process, turn by turn.

    python -m benchmarks.by_hand --networks fast_scnn,enet --size 256 --threads 2

For each plan of the PyTorch backend, deployment runtimes included, the shortest code that a user of
the runtime would write is timed in blocks that alternate with ours, so that drift of the machine
falls on both. The aim is a ratio of medians of at most 1.05. Run it on an idle machine.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from functools import partial
from time import perf_counter_ns
from typing import Any

import numpy as np
import torch

from backends.contract import Array, Runtime
from backends.errors import Unsupported
from backends.onnx_export import onnx_bytes
from harness import cores, registry
from harness.deploy.loading import build_network
from harness.measuring.timer import no_garbage_collection, time_query
from harness.protocol import Input

BLOCKS = 9
AIM = 1.05


def eager(module: torch.nn.Module, images: Array, model: bytes, threads: int) -> Callable:  # noqa: ARG001
    """PyTorch as its tutorial has it, in the memory format that it recommends."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)

    def run() -> None:
        with torch.inference_mode():
            module(tensor)

    return run


def onnx_runtime(module: torch.nn.Module, images: Array, model: bytes, threads: int) -> Callable:  # noqa: ARG001
    """ONNX Runtime's own example, with the number of threads."""
    # Not at the top: `backends.runtimes` first switches off what the runtimes report.
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    feed = {"images": np.ascontiguousarray(images.transpose(0, 3, 1, 2))}
    return lambda: session.run(None, feed)


def compiled(module: torch.nn.Module, images: Array, model: bytes, threads: int) -> Callable:  # noqa: ARG001
    """`torch.compile` as its tutorial has it, with the weights frozen as for deployment."""
    tensor = torch.from_numpy(images).permute(0, 3, 1, 2)
    function = torch.compile(module, options={"freezing": True})

    def run() -> None:
        with torch.inference_mode():
            function(tensor)

    return run


def open_vino(
    module: torch.nn.Module,  # noqa: ARG001
    images: Array,
    model: bytes,
    threads: int,
    precision: str = "f32",
) -> Callable:
    """OpenVINO's own example: read, fix the shape, compile for latency, infer."""
    import openvino

    channels_first = np.ascontiguousarray(images.transpose(0, 3, 1, 2))
    core = openvino.Core()
    network = core.read_model(model)
    network.reshape(list(channels_first.shape))
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        "INFERENCE_PRECISION_HINT": precision,
    }
    request = core.compile_model(network, "CPU", options).create_infer_request()
    return lambda: request.infer([channels_first], share_inputs=True, share_outputs=True)


BY_HAND = {
    "eager": eager,
    "compile": compiled,
    "onnxruntime": onnx_runtime,
    "openvino": open_vino,
    "openvino-bfloat16": partial(open_vino, precision="bf16"),
}


def compare(
    name: str, plans: Sequence[str], size: int, threads: int, queries: int
) -> list[dict[str, Any]]:
    """Ratios of our median to the runtime's own, one row a plan; a plan that is not had is none."""
    chosen = Input(height=size, width=size)
    _, network = build_network(name, "torch", chosen, Runtime(threads=threads), None)
    images = np.random.default_rng(0).standard_normal((1, size, size, 1)).astype(np.float32)
    module = network.module.net  # pyright: ignore[reportAttributeAccessIssue]
    model = onnx_bytes(module, size, size)
    rows: list[dict[str, Any]] = []
    for plan in plans:
        try:
            ours = network.prepare(images, plan=plan, quantity="forward")
        except Unsupported as reason:
            rows.append({"network": name, "plan": plan, "unsupported": str(reason)})
            continue
        run = BY_HAND[plan](module, images, model, threads)
        times: dict[str, list[int]] = {"ours": [], "by_hand": []}
        with no_garbage_collection():
            for block in range(BLOCKS + 1):
                for _ in range(queries):
                    latency, _ = time_query(ours)
                    # The first block warms both up.
                    times["ours"] += [latency] if block else []
                for _ in range(queries):
                    start = perf_counter_ns()
                    run()
                    times["by_hand"] += [perf_counter_ns() - start] if block else []
        medians = {side: float(np.median(values)) / 1e6 for side, values in times.items()}
        rows.append(
            {
                "network": name,
                "plan": plan,
                "ours_ms": round(medians["ours"], 3),
                "by_hand_ms": round(medians["by_hand"], 3),
                "ratio": round(medians["ours"] / medians["by_hand"], 3),
            }
        )
    return rows


def main() -> int:
    """Print one row a network and plan; return 1 where a network's best plan misses the aim."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", default="")
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=cores.count())
    parser.add_argument("--plans", default=",".join(BY_HAND))
    parser.add_argument("--queries", type=int, default=10, help="in each block")
    options = parser.parse_args()
    names = options.networks.split(",") if options.networks else list(registry.networks())
    missed = 0
    for name in names:
        if not registry.network(name).implements("torch"):
            continue
        plans = options.plans.split(",")
        rows = compare(name, plans, options.size, options.threads, options.queries)
        for row in rows:
            print(json.dumps(row), flush=True)
        timed = [row for row in rows if "ratio" in row]
        missed += min(timed, key=lambda row: row["ours_ms"])["ratio"] > AIM
    return int(missed > 0)


if __name__ == "__main__":
    raise SystemExit(main())
