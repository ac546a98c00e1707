"""The machine, without user or host name, and what else it is doing."""

from __future__ import annotations

import hashlib
import os
import platform
import re
from functools import cache
from pathlib import Path
from time import perf_counter, process_time
from types import TracebackType

import psutil

from harness import cores
from harness.measuring import nvml
from harness.records.schema import Machine

# (p.) Other processes may take this share of the cores before a figure is called disturbed.
OTHER_LOAD_SHARE = 0.05
# CPU times come in ticks of 10 ms: below this they say nothing.
LEAST_SECONDS = 0.25
THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
# Words of a processor's name that tell nothing: marks, clock, core count, kind of thing.
_NOISE = re.compile(r"\((r|tm)\)|@.*|\bcpu\b|\b\d+-core\b|\bprocessor\b|\bwith\b.*", re.IGNORECASE)


def processor() -> str:
    """Name of the processor as its maker writes it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE)
        if found:
            return " ".join(found[1].split())
    return platform.processor() or platform.machine() or "unknown processor"


def _driver_title() -> str | None:
    """The GPU's model by the driver's own file, where NVML does not answer."""
    for path in sorted(Path("/proc/driver/nvidia/gpus").glob("*/information")):
        found = re.search(r"^Model:\s*(.+)$", path.read_text(), re.MULTILINE)
        if found:
            return found[1].strip()
    return None


def slug(text: str) -> str:
    """`text` as a name for a folder: lower-case letters, digits and single hyphens.

    One that is cut or has lost letters ends in a digest: two machines keep two names.
    """
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    if name and len(name) <= 48 and text.isascii():
        return name
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[:39]}-{digest}" if name else "unknown"


def hardware_name(processor_name: str, core_count: int, gpu: str | None) -> str:
    """Folder name of the hardware, such as `amd-epyc-2c` or `nvidia-h100-80gb-hbm3-16c`.

    Of a GPU everything stays that NVML tells: form, memory and MIG slice each make another device.
    """
    if gpu is not None:
        return f"{slug(gpu)}-{core_count}c"
    return f"{slug(_NOISE.sub(' ', processor_name))}-{core_count}c"


@cache
def machine(device: str = "cpu") -> Machine:
    """The hardware. With device `cuda` it is named after its first visible GPU."""
    gpu = nvml.gpu_title()
    if device == "cuda" and gpu is None:
        # Never the processor's name: its folder holds figures of the CPU.
        gpu = _driver_title() or "unidentified GPU"
    name = processor()
    return Machine(
        name=hardware_name(name, cores.count(), gpu if device == "cuda" else None),
        processor=name,
        cores=cores.count(),
        memory_bytes=psutil.virtual_memory().total,
        gpu=gpu,
        system=f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
    )


def state() -> list[str]:
    """Sentences for a record's notes: affinity, threads, load and clock governor."""
    pinned = cores.count() < (os.cpu_count() or 1)
    threads = {name: os.environ[name] for name in THREAD_VARIABLES if name in os.environ}
    governor = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")
    load = os.getloadavg()[0]
    return [
        f"affinity: {cores.count()} of {os.cpu_count()} cores{' (pinned)' if pinned else ''}",
        "threads: " + (", ".join(f"{k}={v}" for k, v in threads.items()) or "as the framework"),
        f"load average at the start of measuring: {load:.2f}",
        "clock governor: "
        + (governor.read_text().strip() if governor.is_file() else "not told by this machine"),
    ]


class OtherLoad:
    """CPU time that other processes took while a region ran (a context manager)."""

    share: float | None = None

    def __enter__(self) -> OtherLoad:
        self._start = perf_counter(), process_time(), _busy_s()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        wall, own, busy = self._start
        seconds = perf_counter() - wall
        if seconds >= LEAST_SECONDS:
            others = (_busy_s() - busy) - (process_time() - own)
            self.share = max(0.0, others / (seconds * cores.count()))

    def sentence(self) -> str | None:
        """What is wrong, or None if others took next to nothing."""
        if self.share is None or self.share <= OTHER_LOAD_SHARE:
            return None
        return f"other processes took {self.share:.0%} of this process's cores meanwhile."


def _busy_s() -> float:
    """Busy seconds of the cores that this process may use: on a large machine others are idle."""
    # Linux counts guest time within user time.
    idle = ("idle", "iowait", "guest", "guest_nice")
    own = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    return sum(
        seconds
        for core, times in enumerate(psutil.cpu_times(percpu=True))
        if own is None or core in own
        for name, seconds in times._asdict().items()
        if name not in idle
    )
