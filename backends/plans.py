"""Every execution plan of every backend, as data: readable without importing a framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.errors import BackendError, Unsupported, did_you_mean

CPU, CUDA = ("cpu",), ("cuda",)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One way to execute a network; timings of two plans are never averaged together.

    `key` is stable (`eager`, `compile`, `predict`, `tf-function`, `aot` ...).
    """

    key: str
    title: str
    precision: str = "float32"
    devices: tuple[str, ...] = ("cpu", "cuda")


# The runtimes that execute an exported network on a CPU (`backends.runtimes`).
RUNTIMES = (
    Plan(key="onnxruntime", title="ONNX Runtime", devices=CPU),
    Plan(key="openvino", title="OpenVINO", devices=CPU),
    Plan(key="openvino-bfloat16", title="OpenVINO, bfloat16", precision="bfloat16", devices=CPU),
)
PREDICT = Plan(key="predict", title="model.predict (the paper's way; logits end on the host)")

# By backend. The first plan that a device offers is the default there, which evaluation uses.
PLANS: dict[str, tuple[Plan, ...]] = {
    "torch": (
        Plan(key="eager", title="eager"),
        Plan(key="eager-channels-first", title="eager, channels-first memory"),
        Plan(key="compile", title="torch.compile, weights frozen"),
        Plan(key="cuda-graphs", title="CUDA graph", devices=CUDA),
        Plan(key="eager-tf32", title="eager, TF32", precision="tf32", devices=CUDA),
        Plan(key="eager-bfloat16", title="eager, bfloat16", precision="bfloat16"),
        Plan(key="eager-float16", title="eager, float16", precision="float16", devices=CUDA),
        *RUNTIMES,
        # TensorRT multiplies in TF32 if the GPU has it.
        Plan(key="tensorrt", title="TensorRT by ONNX Runtime", precision="tf32", devices=CUDA),
    ),
    "keras": (
        # Not `predict` first: it spends tens of milliseconds of Python around every network.
        Plan(key="tf-function", title="tf.function graph"),
        PREDICT,
        Plan(key="xla", title="tf.function compiled by XLA"),
        Plan(key="tf-function-tf32", title="tf.function, TF32", precision="tf32", devices=CUDA),
        Plan(key="tf-function-bfloat16", title="tf.function, bfloat16", precision="bfloat16"),
        Plan(
            key="tf-function-float16",
            title="tf.function, float16",
            precision="float16",
            devices=CUDA,
        ),
    ),
    "keras-jax": (PREDICT,),
    "keras-torch": (PREDICT,),
    "flax": (
        Plan(key="aot", title="jit, compiled ahead of time"),
        Plan(
            key="aot-shifted-depthwise",
            title="jit ahead of time, depthwise convolutions as shifted multiply-adds",
            devices=CPU,
        ),
        Plan(key="aot-tf32", title="jit ahead of time, TF32", precision="tf32", devices=CUDA),
        Plan(key="aot-bfloat16", title="jit ahead of time, bfloat16", precision="bfloat16"),
        Plan(
            key="aot-float16",
            title="jit ahead of time, float16",
            precision="float16",
            devices=CUDA,
        ),
    ),
    "numpy": (Plan(key="call", title="function call"),),
}


def default(offered: Sequence[Plan], device: str) -> Plan:
    """The first plan that the device offers, which evaluation uses."""
    return next(plan for plan in offered if device in plan.devices)


def chosen(keys: Sequence[str], offered: Sequence[Plan], device: str) -> list[Plan]:
    """Plans by key, in that order; without keys the default. Raises `BackendError`.

    A plan that the device lacks is among them: measuring it is `unsupported`.
    """
    return [require(key, offered) for key in keys] or [default(offered, device)]


def require(key: str, offered: Sequence[Plan], device: str | None = None) -> Plan:
    """The plan of that key among those offered, and on that device if one is given.

    Raises `BackendError` for an unknown key, `Unsupported` if the device lacks the plan.
    """
    known = {plan.key: plan for plan in offered}
    if key not in known:
        raise BackendError(f"unknown plan {key!r}: {did_you_mean(key, known)}")
    if device is not None and device not in known[key].devices:
        raise Unsupported(f"plan {key!r} needs {' or '.join(known[key].devices)}, not {device}.")
    return known[key]
