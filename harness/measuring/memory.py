"""Memory, each quantity by its own name (measuring, 14).

`parameters_bytes` the weights; `allocated_peak_bytes` live tensors by the framework;
`reserved_peak_bytes` its pool; `device_peak_bytes` the process's memory on the GPU by the driver;
`rss_peak_bytes` the process on the host, minus what it held after its imports. With `running` in
the name: the timed queries alone, without what compiling and choosing algorithms took (15).
"""

from __future__ import annotations

import re
import resource
import sys
from collections.abc import Sequence
from math import prod
from pathlib import Path

import psutil

from backends.contract import Backend, Bytes, WeightSpec
from harness.measuring import nvml
from harness.records.schema import MemoryQuantity

BYTES_PER_WEIGHT = 4
SHARED = "the process served other networks too"


def peak_rss_bytes() -> int:
    """Greatest resident memory of this process so far, or since `forget_peak`."""
    status = Path("/proc/self/status")
    if status.is_file():
        found = re.search(r"^VmHWM:\s+(\d+) kB", status.read_text(), re.MULTILINE)
        if found:
            return int(found[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def forget_peak() -> bool:
    """Let the peak start again from what is resident now; False if the system cannot."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True


class ImportBaseline:
    """Host memory after the imports; make it when the framework is imported."""

    def __init__(self) -> None:
        self.bytes = psutil.Process().memory_info().rss

    def peak(self) -> Bytes:
        """How far the peak rose above the baseline."""
        grown = peak_rss_bytes() - self.bytes
        reason = None if grown > 0 else "the peak of the imports was not exceeded"
        return Bytes(bytes=grown if grown > 0 else None, reason=reason)


class Meter:
    """Peaks of memory between two moments of one process."""

    def __init__(
        self, backend: Backend, baseline: ImportBaseline, device: str, *, shared: bool = False
    ) -> None:
        self._backend, self._baseline, self._device = backend, baseline, device
        self._shared = shared
        self._host = self._framework = False

    def restart(self) -> None:
        """Peaks count from now on, if system and framework can forget the earlier ones."""
        self._host = forget_peak()
        self._framework = self._backend.forget_memory_peaks()

    def peaks(self) -> dict[str, Bytes]:
        """All peaks by name; unknown in a process that other networks have filled too."""
        found = {
            **self._backend.memory(),
            "device_peak_bytes": (
                nvml.process_bytes()
                if self._device == "cuda"
                else Bytes(bytes=None, reason="no GPU is used")
            ),
            "rss_peak_bytes": self._baseline.peak(),
        }
        if self._shared:
            return {name: Bytes(bytes=None, reason=SHARED) for name in found}
        return found

    def running(self) -> dict[str, Bytes]:
        """The peaks since `restart`, under names of their own."""
        found = self.peaks()
        since = {"rss_peak_bytes": self._host, "device_peak_bytes": False}
        return {
            name.replace("_peak_", "_running_peak_"): own
            if own.bytes is None or since.get(name, self._framework)
            else Bytes(bytes=None, reason="an earlier peak cannot be told from this one")
            for name, own in found.items()
        }


def parameters(specs: Sequence[WeightSpec]) -> Bytes:
    """`parameters_bytes` of float32 weights."""
    return Bytes(bytes=BYTES_PER_WEIGHT * sum(prod(spec.shape) for spec in specs))


def recorded(quantities: dict[str, Bytes]) -> dict[str, MemoryQuantity]:
    """Quantities as a record holds them."""
    return {
        name: MemoryQuantity(bytes=own.bytes, reason=own.reason) for name, own in quantities.items()
    }
