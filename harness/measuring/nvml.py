"""State of an NVIDIA GPU by its management library, if there is one.

`python -m harness.measuring.nvml UUID SECONDS` samples one GPU from outside the worker and
writes a line of JSON every SECONDS until its input closes; `GpuWatch` runs it beside a measurement.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from tempfile import TemporaryFile
from time import monotonic_ns
from types import TracebackType
from typing import Any

from backends.contract import Bytes

# Bits of nvmlClocksEventReasons that slow a GPU down against its own wish. Idling, fixed
# application clocks and synchronised boost (0x1, 0x2, 0x10) are not throttling.
FAULTS = {
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
# The card working as it was sold: under load most cards are at their power cap all the time.
POWER_CAP = {0x4: "power cap"}
THROTTLE_REASONS = POWER_CAP | FAULTS
PERIOD_S = 0.2


class NoNvml(Exception):
    """The GPU's state is unknown; the text is the reason."""


@dataclass(frozen=True, kw_only=True)
class GpuSample:
    """One look at a GPU, at a time of the host's monotonic clock.

    `processes` are the ids that the driver lists as computing on it.
    """

    time_ns: int
    clock_mhz: int
    temperature_c: int
    power_w: float
    throttled_by: tuple[str, ...]
    processes: tuple[int, ...]


def load_nvml() -> Any:
    """The library, initialised. Raises `NoNvml` without its package or a driver."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise NoNvml("GPU state is unknown: pip install nvidia-ml-py.") from None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        raise NoNvml(f"GPU state is unknown: no NVIDIA driver answers ({error}).") from None
    return pynvml


def find_gpu(nvml: Any, wanted: str | None = None) -> tuple[Any, str]:
    """Handle and UUID of a GPU given by UUID or index; else the first that CUDA may see.

    The order of NVML is not always that of CUDA, a UUID is the same in both. Raises `NoNvml`.
    """
    if wanted is None:
        wanted = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip() or "0"
    try:
        if wanted.isdecimal():
            handle = nvml.nvmlDeviceGetHandleByIndex(int(wanted))
        else:
            handle = nvml.nvmlDeviceGetHandleByUUID(wanted)
        return handle, _text(nvml.nvmlDeviceGetUUID(handle))
    except nvml.NVMLError as error:
        raise NoNvml(f"GPU state is unknown: there is no GPU {wanted!r} ({error}).") from None


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


@dataclass(frozen=True, kw_only=True)
class GpuFacts:
    """A GPU as NVML tells it: its name, all of its memory, and the slice of it that is ours."""

    name: str
    memory_bytes: int | None = None
    mig_profile: str | None = None  # such as 1g.10gb
    compute_capability: tuple[int, int] | None = None  # (8, 0) for an A100

    @property
    def title(self) -> str:
        """Name, memory where the name does not say it, and MIG profile: tells two devices apart."""
        words = [self.name]
        if self.memory_bytes and not re.search(r"\d ?GB\b", self.name, re.IGNORECASE):
            words.append(f"{round(self.memory_bytes / 2**30)}GB")
        if self.mig_profile and self.mig_profile not in self.name:
            words.append(f"MIG {self.mig_profile}")
        return " ".join(words)


def gpu_facts(nvml: Any = None) -> GpuFacts | None:
    """The first visible GPU, or None without one that the driver tells of."""
    try:
        nvml = nvml or load_nvml()
        handle, _ = find_gpu(nvml)
        name = _text(nvml.nvmlDeviceGetName(handle))
    except NoNvml:
        return None
    except nvml.NVMLError:
        return None
    whole = _asked(nvml, "nvmlDeviceGetMemoryInfo", handle)
    capability = _asked(nvml, "nvmlDeviceGetCudaComputeCapability", handle)
    return GpuFacts(
        name=name,
        memory_bytes=whole.total if whole else None,
        mig_profile=_mig_profile(nvml, handle),
        compute_capability=tuple(capability) if capability else None,
    )


def gpu_title(nvml: Any = None) -> str | None:
    """What tells the first visible GPU from others, or None without one."""
    facts = gpu_facts(nvml)
    return facts.title if facts else None


def _mig_profile(nvml: Any, handle: Any) -> str | None:
    """The profile of a MIG slice; of a GPU cut into slices CUDA sees the first."""
    if not _asked(nvml, "nvmlDeviceIsMigDeviceHandle", handle):
        modes = _asked(nvml, "nvmlDeviceGetMigMode", handle)
        if not modes or not modes[0]:
            return None
        handle = _asked(nvml, "nvmlDeviceGetMigDeviceHandleByIndex", handle, 0)
    found = _asked(nvml, "nvmlDeviceGetAttributes", handle) if handle else None
    if found is None:
        return "unknown"
    return f"{found.gpuInstanceSliceCount}g.{ceil(found.memorySizeMB / 1024)}gb"


def _asked(nvml: Any, question: str, *of: Any) -> Any:
    """The library's answer, None from a driver or library that does not know the question."""
    try:
        return getattr(nvml, question)(*of)
    except (AttributeError, nvml.NVMLError):
        return None


def process_bytes(nvml: Any = None, pid: int | None = None) -> Bytes:
    """`device_peak_bytes`: what this process holds on the GPU now, by the driver.

    Frameworks give pool memory back at their end only, so that the last value is the peak.
    """
    try:
        nvml = nvml or load_nvml()
        handle, _ = find_gpu(nvml)
        listed = _running(nvml, handle)
    except NoNvml as error:
        return Bytes(bytes=None, reason=str(error))
    for process in listed:
        if process.pid == (pid or os.getpid()):
            used = process.usedGpuMemory
            reason = "the driver does not tell memory by process" if used is None else None
            return Bytes(bytes=used, reason=reason)
    return Bytes(
        bytes=None,
        reason="the driver does not list this process; in a container its ids are the host's",
    )


def _running(nvml: Any, handle: Any) -> Any:
    try:
        return nvml.nvmlDeviceGetComputeRunningProcesses(handle)
    except nvml.NVMLError as error:
        raise NoNvml(f"the driver does not list the GPU's processes ({error}).") from None


def sample(nvml: Any, handle: Any) -> GpuSample:
    """Look at a GPU once. Raises `NoNvml` if the driver does not tell one of the figures."""
    try:
        bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return GpuSample(
            time_ns=monotonic_ns(),
            clock_mhz=nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            temperature_c=nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            power_w=nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            throttled_by=tuple(name for bit, name in THROTTLE_REASONS.items() if bits & bit),
            processes=tuple(process.pid for process in _running(nvml, handle)),
        )
    except nvml.NVMLError as error:
        raise NoNvml(f"GPU state is unknown: the driver does not tell it ({error}).") from None


def within(samples: Sequence[GpuSample], window_ns: tuple[int, int]) -> list[GpuSample]:
    """The samples of a timed window, and the last before it.

    A window may be shorter than the time between two samples. What came before it was the same
    work, warming up; what comes after is an idle GPU and would hide what the window saw.
    """
    start, stop = window_ns
    before = [one for one in samples if one.time_ns < start]
    return [*before[-1:], *(one for one in samples if start <= one.time_ns <= stop)]


def judge(samples: Sequence[GpuSample], pid: int) -> list[str]:
    """Reasons why figures taken meanwhile are invalid: slowed down by a fault, or shared.

    If the driver lists one process and it is not ours, its ids are those of another namespace
    and it may be us; two or more are never all ours.
    """
    reasons = []
    if share := _share(samples, FAULTS.values()):
        named = sorted({n for one in samples for n in one.throttled_by if n in FAULTS.values()})
        reasons.append(f"the GPU was throttled ({', '.join(named)}) {share:.0%} of the time.")
    for one in samples:
        others = [process for process in one.processes if process != pid]
        if len(others) > (0 if pid in one.processes else 1):
            reasons.append(f"the GPU was shared with {len(others)} other process(es).")
            break
    return reasons


def power_capped(samples: Sequence[GpuSample]) -> list[str]:
    """A doubt with its share and clocks, if the card ran at its power limit."""
    if not (share := _share(samples, POWER_CAP.values())):
        return []
    clocks = [one.clock_mhz for one in samples]
    return [
        f"the GPU was at its power cap {share:.0%} of the time "
        f"({min(clocks)}–{max(clocks)} MHz): another card's limit may be another."
    ]


def _share(samples: Sequence[GpuSample], names: Collection[str]) -> float:
    return sum(not set(names).isdisjoint(one.throttled_by) for one in samples) / len(samples)


@dataclass(frozen=True, kw_only=True)
class GpuState:
    """Sentences for a measurement: why it is invalid, why not published, and what else was seen."""

    reasons: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()


class GpuWatch:
    """Samples the GPU of a measurement from a process of its own (a context manager).

    Afterwards `samples` holds what it saw, or `reason` why it saw nothing.
    """

    def __init__(self, wanted: str | None = None) -> None:
        self.samples: list[GpuSample] = []
        self.reason: str | None = None
        self._process: subprocess.Popen[str] | None = None
        try:
            _, self._uuid = find_gpu(load_nvml(), wanted)
        except NoNvml as error:
            self.reason = str(error)

    def __enter__(self) -> GpuWatch:
        if self.reason is None:
            command = [sys.executable, "-m", "harness.measuring.nvml", self._uuid, str(PERIOD_S)]
            # A file and not a pipe: nobody reads while the measurement runs.
            self._output = TemporaryFile("w+")
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=self._output, text=True
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._process is not None:
            self._process.communicate(timeout=30)
            with self._output as output:
                output.seek(0)
                lines = [json.loads(line) for line in output]
            self.samples = [parse_sample(line) for line in lines if "reason" not in line]
            self.reason = next((line["reason"] for line in lines if "reason" in line), None)

    def judged(self, window_ns: tuple[int, int] | None) -> GpuState:
        """What the GPU did while something was timed; None: nothing was, all samples count."""
        seen = self.samples if window_ns is None else within(self.samples, window_ns)
        if not seen:
            # A GPU that was not watched is not known to be quiet, hence not published.
            return GpuState(doubts=(self.reason or "no sample of the GPU's state was taken.",))
        clocks = [one.clock_mhz for one in seen]
        warmest = max(one.temperature_c for one in seen)
        power = max(one.power_w for one in seen)
        return GpuState(
            reasons=tuple(judge(seen, os.getpid())),
            doubts=tuple(power_capped(seen)),
            remarks=(
                f"GPU over {len(seen)} samples: {min(clocks)}–{max(clocks)} MHz, "
                f"at most {warmest} °C and {power:.0f} W.",
            ),
        )


def parse_sample(line: dict[str, Any]) -> GpuSample:
    """A sample from its line of JSON, read."""
    read = dict(line)
    read |= {name: tuple(read[name]) for name in ("throttled_by", "processes")}
    return GpuSample(**read)


def main() -> int:
    """Sample until the standard input closes."""
    uuid, period_s = sys.argv[1], float(sys.argv[2])
    try:
        nvml = load_nvml()
        handle, _ = find_gpu(nvml, uuid)
        while True:
            print(json.dumps(asdict(sample(nvml, handle))), flush=True)
            if select.select([sys.stdin], [], [], period_s)[0]:
                return 0
    except NoNvml as error:
        print(json.dumps({"reason": str(error)}), flush=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
