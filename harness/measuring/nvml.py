"""State of an NVIDIA GPU by its management library, where one is there.

`python -m harness.measuring.nvml UUID SECONDS` samples one GPU from outside the worker and
writes a line of JSON every SECONDS until its input closes; `Watch` runs it beside a measurement.
"""

from __future__ import annotations

import json
import os
import re
import select
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import ceil
from tempfile import TemporaryFile
from types import TracebackType
from typing import Any

from backends.contract import Bytes

# Bits of nvmlClocksEventReasons that slow a GPU down against its own wish. Idling, fixed
# application clocks and synchronised boost (0x1, 0x2, 0x10) are no throttling.
THROTTLE_REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "software thermal slowdown",
    0x40: "hardware thermal slowdown",
    0x80: "power brake",
}
PERIOD_S = 0.2


class NoNvml(Exception):
    """No GPU state can be had; the text is the reason."""


@dataclass(frozen=True, kw_only=True)
class GpuSample:
    """One look at a GPU. `processes` are the ids that the driver lists as computing on it."""

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
        raise NoNvml(
            "GPU state is unknown: pip install 'fetalbench[gpu]' brings nvidia-ml-py."
        ) from None
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
    return GpuFacts(
        name=name,
        memory_bytes=whole.total if whole else None,
        mig_profile=_mig_profile(nvml, handle),
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
    """Look at a GPU once. Raises `NoNvml` where the driver does not tell one of the figures."""
    try:
        bits = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)
        return GpuSample(
            clock_mhz=nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM),
            temperature_c=nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
            power_w=nvml.nvmlDeviceGetPowerUsage(handle) / 1000,
            throttled_by=tuple(name for bit, name in THROTTLE_REASONS.items() if bits & bit),
            processes=tuple(process.pid for process in _running(nvml, handle)),
        )
    except nvml.NVMLError as error:
        raise NoNvml(f"GPU state is unknown: the driver does not tell it ({error}).") from None


def judge(samples: Sequence[GpuSample], pid: int) -> list[str]:
    """Reasons why figures taken meanwhile are invalid: throttled or shared.

    Where the driver lists one process and it is not ours, its ids are those of another namespace
    and it may be us; two or more are never all ours.
    """
    reasons = []
    throttled = sorted({name for one in samples for name in one.throttled_by})
    if throttled:
        share = sum(bool(one.throttled_by) for one in samples) / len(samples)
        reasons.append(f"the GPU was throttled ({', '.join(throttled)}) {share:.0%} of the time.")
    for one in samples:
        others = [process for process in one.processes if process != pid]
        if len(others) > (0 if pid in one.processes else 1):
            reasons.append(f"the GPU was shared with {len(others)} other process(es).")
            break
    return reasons


class Watch:
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

    def __enter__(self) -> Watch:
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

    def remarks(self) -> list[str]:
        """What the GPU did meanwhile, in one sentence."""
        if not self.samples:
            return []
        clocks = [one.clock_mhz for one in self.samples]
        warmest = max(one.temperature_c for one in self.samples)
        power = max(one.power_w for one in self.samples)
        return [
            f"GPU over {len(self.samples)} samples: {min(clocks)}–{max(clocks)} MHz, "
            f"at most {warmest} °C and {power:.0f} W."
        ]

    def doubts(self) -> list[str]:
        """Why it is not known whether the GPU was quiet."""
        return [] if self.samples else [self.reason or "no sample of the GPU's state was taken."]

    def reasons(self) -> list[str]:
        """Why figures taken meanwhile are invalid."""
        return judge(self.samples, os.getpid()) if self.samples else []


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
