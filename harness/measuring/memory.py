"""Memory, each quantity by its own name (measuring, 14).

`parameters_bytes` the weights; `allocated_peak_bytes` live tensors by the framework;
`reserved_peak_bytes` its pool; `device_peak_bytes` the process's memory on the GPU by the driver;
`rss_peak_bytes` the process on the host, minus what it held after its imports.
"""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path

from backends.contract import Backend, Bytes, WeightSpec
from harness.measuring import nvml
from harness.record_schema import MemoryQuantity

BYTES_PER_WEIGHT = 4


def peak_rss_bytes() -> int:
    """Greatest resident memory of this process so far."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


class ImportBaseline:
    """Host memory after the imports; make it when the frameworks are imported."""

    def __init__(self) -> None:
        self.bytes = peak_rss_bytes()

    def peak(self) -> dict[str, Bytes]:
        """`rss_peak_bytes`: how far the peak rose above the baseline."""
        grown = peak_rss_bytes() - self.bytes
        reason = None if grown > 0 else "the peak of the imports was not exceeded"
        return {"rss_peak_bytes": Bytes(bytes=grown if grown > 0 else None, reason=reason)}


def quantities(
    backend: Backend,
    specs: Sequence[WeightSpec],
    baseline: ImportBaseline,
    device: str,
    *,
    shared: bool = False,
) -> dict[str, MemoryQuantity]:
    """All quantities by name; what is unknown is null with the reason.

    In a process that is `shared` by several cells no peak belongs to one of them.
    """
    parameters = BYTES_PER_WEIGHT * sum(prod(spec.shape) for spec in specs)
    found = {
        "parameters_bytes": Bytes(bytes=parameters),
        **backend.memory(),
        "device_peak_bytes": (
            nvml.process_bytes() if device == "cuda" else Bytes(bytes=None, reason="no GPU is used")
        ),
        **baseline.peak(),
    }
    if shared:
        unknown = Bytes(bytes=None, reason="the process served other networks too")
        found = {name: unknown if "_peak_" in name else own for name, own in found.items()}
    return {
        name: MemoryQuantity(bytes=quantity.bytes, reason=quantity.reason)
        for name, quantity in found.items()
    }
