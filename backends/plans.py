"""Every execution plan of every backend, as data: readable without importing a framework."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from backends.errors import BackendError, Unsupported, did_you_mean

CPU, CUDA = ("cpu",), ("cuda",)

# Environment variables: the folder in which TensorRT keeps its engines (without it, it keeps none),
# and that those in it are to be built again, for an honest compile time.
ENGINES, FRESH_ENGINES = "FETALBENCH_TENSORRT_CACHE", "FETALBENCH_TENSORRT_FRESH"


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
    Plan(key="onnxruntime-int8", title="ONNX Runtime, 8-bit", precision="int8", devices=CPU),
    Plan(key="openvino-int8", title="OpenVINO, 8-bit", precision="int8", devices=CPU),
)
PREDICT = Plan(key="predict", title="model.predict (the paper's way; logits end on the host)")

# By backend. The first plan that a device offers is the default there, which evaluation uses.
PLANS: dict[str, tuple[Plan, ...]] = {
    "torch": (
        Plan(key="eager", title="eager"),
        Plan(key="eager-channels-first", title="eager, channels-first memory"),
        Plan(key="compile", title="torch.compile, weights frozen"),
        *(
            Plan(
                key=f"cuda-graphs-{precision}",
                title=f"one CUDA graph from pinned image to pinned mask, {title}",
                precision=precision,
                devices=CUDA,
            )
            for precision, title in (
                ("float32", "float32"),
                ("tf32", "TF32"),
                ("bfloat16", "bfloat16"),
                ("float16", "float16"),
            )
        ),
        Plan(key="eager-tf32", title="eager, TF32", precision="tf32", devices=CUDA),
        Plan(key="eager-bfloat16", title="eager, bfloat16", precision="bfloat16"),
        Plan(key="eager-float16", title="eager, float16", precision="float16", devices=CUDA),
        *RUNTIMES,
        # TensorRT multiplies in TF32 if the GPU has it.
        Plan(key="tensorrt", title="TensorRT by ONNX Runtime", precision="tf32", devices=CUDA),
        Plan(
            key="tensorrt-int8",
            title="TensorRT by ONNX Runtime, 8-bit",
            precision="int8",
            devices=CUDA,
        ),
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


TF32_SINCE = (8, 0)  # Ampere


def require_tf32(plan: Plan, capability: tuple[int, int] | None) -> None:
    """Raise `Unsupported` for a plan in TF32 on a GPU of an older compute capability.

    Such a card computes in float32 without a word. None stands for no GPU, or an unknown one.
    """
    if plan.precision == "tf32" and capability is not None and capability < TF32_SINCE:
        raise Unsupported(
            f"plan {plan.key!r} needs TF32, which NVIDIA GPUs have since Ampere (compute "
            f"capability 8.0); this one has {capability[0]}.{capability[1]}."
        )


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
