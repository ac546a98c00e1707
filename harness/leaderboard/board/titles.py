"""What a reader calls a status, a backend, a test set and a latency."""

from __future__ import annotations

from harness import registry

SETS = ("normal", "challenging")
SET_TITLES = {"normal": "Normal", "challenging": "Challenging"}
QUANTITY_TITLES = {"end_to_end": "end to end", "forward": "forward"}
STATUS_TITLES = {
    "ok": "ok",
    "oom": "out of memory",
    "timeout": "timed out",
    "crashed": "crashed",
    "invalid": "invalid",
    "diverged": "diverged",
    "unsupported": "unsupported",
    "not_implemented": "not implemented",
    "todo": "to do",
}


def backend_title(name: str) -> str:
    """What a reader calls a backend."""
    return registry.BACKEND_TITLES.get(name, name)


# What a reader needs to know of a plan; docs/measuring.md has the details. A plan that is not named
# here is shown by its key alone.
PLAN_TITLES = {
    "eager": "PyTorch without compilation, one operation after the other",
    "compile": "PyTorch's compiler (torch.compile)",
    "tf-function": "Keras on TensorFlow as one traced graph",
    "predict": "Keras's own predict method",
    "aot": "JAX, compiled ahead of the first call",
    "onnxruntime": "the PyTorch network exported to ONNX, run by ONNX Runtime",
    "openvino": "the PyTorch network run by OpenVINO in float32",
    "openvino-bfloat16": "the PyTorch network run by OpenVINO in bfloat16",
    "onnxruntime-int8": "the PyTorch network quantised to 8-bit integers, run by ONNX Runtime",
    "openvino-int8": "the PyTorch network quantised to 8-bit integers, run by OpenVINO",
    "tensorrt": "the PyTorch network exported to ONNX, run by TensorRT, in TF32",
    "tensorrt-int8": "the PyTorch network quantised to 8-bit integers, run by TensorRT",
    **{
        f"cuda-graphs-{precision}": "PyTorch's operations recorded once, with the copies from and "
        f"to the host, the arg-max and one launch for all; {title}"
        for precision, title in (
            ("float32", "float32"),
            ("tf32", "TF32"),
            ("bfloat16", "bfloat16"),
            ("float16", "float16"),
        )
    },
    "call": "a NumPy function",
}
