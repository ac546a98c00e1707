"""Deployment runtimes: an ONNX file in, no training framework.

Images are (n, 1, height, width) float32, logits (n, classes, height, width) float32, both NumPy
arrays of the host. For TensorRT see `backends.tensorrt_engine`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from backends.contract import Array
from backends.errors import Unsupported
from backends.plans import RUNTIMES

# Both runtimes report their use when they are imported: ONNX Runtime looks up a host and keeps a
# device id below the home folder, OpenVINO the same by a package of its own, which it does without
# if it cannot be imported. Nothing leaves the machine, so both are off before either is imported.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
sys.modules["openvino_telemetry"] = None  # pyright: ignore[reportArgumentType]

# By the CUDA that they are built for; the wheel of that name alone depends on one of them.
TENSORRT_PACKAGES = ("tensorrt", "tensorrt-cu13", "tensorrt-cu12")

Run = Callable[[Array], Array]


def open_model(plan: str, model: bytes, shape: tuple[int, ...], threads: int) -> Run:
    """Load an ONNX model for images of one shape; the logits may be overwritten by the next call.

    Raises `Unsupported` if the runtime is not installed or the processor lacks the precision.
    """
    if plan.startswith("onnxruntime"):
        return _onnx_runtime(model, threads)
    return _openvino(model, shape, threads, bfloat16=plan == "openvino-bfloat16")


def missing(title: str) -> Unsupported:
    """The sentence for a runtime that is not installed."""
    return Unsupported(f"{title} is not installed: pip install 'fetalbench[deploy]' brings it.")


def _onnx_runtime(model: bytes, threads: int) -> Run:
    try:
        import onnxruntime
    except ImportError:
        raise missing("ONNX Runtime") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    session = onnxruntime.InferenceSession(
        model, sess_options=options, providers=["CPUExecutionProvider"]
    )
    name = session.get_inputs()[0].name

    def run(images: Array) -> Array:
        logits: Any = session.run(None, {name: images})[0]
        return logits

    return run


def _openvino(model: bytes, shape: tuple[int, ...], threads: int, *, bfloat16: bool) -> Run:
    try:
        import openvino
    except ImportError:
        raise missing("OpenVINO") from None
    core = openvino.Core()
    if bfloat16 and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
        raise Unsupported(
            "this processor has no bfloat16 instructions: choose the plan 'openvino'."
        )
    network = core.read_model(model)
    # A known batch size lets the compiler choose kernels and memory for it.
    network.reshape(list(shape))
    compiled = core.compile_model(
        network,
        "CPU",
        {
            "PERFORMANCE_HINT": "LATENCY",
            "NUM_STREAMS": "1",
            "INFERENCE_NUM_THREADS": threads,
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
        },
    )
    request = compiled.create_infer_request()

    def run(images: Array) -> Array:
        request.infer({0: images}, share_inputs=True, share_outputs=True)
        return request.get_output_tensor(0).data

    return run


def run_file(path: Path, images: Array, threads: int = 0) -> dict[str, Array]:
    """Logits (n, h, w, classes) of (n, h, w, 1) images by each float32 runtime, by its title.

    Raises `Unsupported` if a runtime is not installed.
    """
    model = path.read_bytes()
    channels_first = images.transpose(0, 3, 1, 2).copy()
    found = {}
    for plan in RUNTIMES:
        if plan.precision == "float32":
            run = open_model(plan.key, model, channels_first.shape, threads)
            found[plan.title] = run(channels_first).transpose(0, 2, 3, 1).copy()
    return found


def versions() -> dict[str, str]:
    """Versions of the runtimes that are installed."""
    found = {}
    packages = ("onnx", "onnxruntime", "onnxruntime-gpu", "openvino", *TENSORRT_PACKAGES)
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found
