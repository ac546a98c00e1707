"""Whether a machine can train in the precision that a protocol asks for."""

from __future__ import annotations

from harness.errors import EnvironmentFault
from harness.measuring import nvml
from harness.measuring.nvml import GpuFacts
from harness.protocol import Protocol

TF32_SINCE = (8, 0)  # compute capability of the Ampere generation


def require_precision(protocol: Protocol, device: str, gpu: GpuFacts | None = None) -> None:
    """Raise `EnvironmentFault` if the protocol trains in TF32 and the device has none.

    Such a device would compute in float32 without a word. A GPU that does not tell its generation
    passes.
    """
    every = (protocol.training, *map(protocol.training_of, protocol.networks))
    if all(settings.precision != "tf32" for settings in every):
        return
    facts = gpu or (nvml.gpu_facts() if device == "cuda" else None)
    capability = facts.compute_capability if facts else None
    if device == "cuda" and (capability is None or capability >= TF32_SINCE):
        return
    here = f"{facts.name} is older" if facts and device == "cuda" else "this is a CPU"
    raise EnvironmentFault(
        f'protocol {protocol.name!r} trains in TF32 (training.precision = "tf32"), which NVIDIA '
        f'GPUs have since Ampere, and {here}: choose "float32" or "bfloat16".'
    )
