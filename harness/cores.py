"""The processor cores that this process may use: its affinity, and the quota of its control group.

A container started with `--cpus 2` on a machine of 64 cores may run on any of them, but for two
cores' time in all: a thread per core would be stopped for most of every period. Both versions of
Linux control groups are read (`cpu.max`, `cpu.cfs_quota_us`), from the group of this process up to
the root, since the tightest quota on the way holds. `system` is the root of the file system; tests
give another.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import floor
from pathlib import Path
from types import TracebackType

SYSTEM = Path("/")


@dataclass(frozen=True, kw_only=True)
class Throttling:
    """Scheduling periods so far in which the quota stopped this process, and all periods."""

    throttled_periods: int = 0
    periods: int = 0

    def since(self, before: Throttling) -> Throttling:
        """What was added after `before`."""
        return Throttling(
            throttled_periods=self.throttled_periods - before.throttled_periods,
            periods=self.periods - before.periods,
        )


def usable(system: Path = SYSTEM) -> list[int]:
    """Numbers of the cores to run on: those of the affinity, no more than the quota feeds."""
    if hasattr(os, "sched_getaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
    else:
        allowed = list(range(os.cpu_count() or 1))
    limit = quota(system)
    # Rounded down: a thread on part of a core is stopped in every period.
    return allowed if limit is None else allowed[: max(1, floor(limit))]


def count(system: Path = SYSTEM) -> int:
    """Number of usable cores."""
    return len(usable(system))


def quota(system: Path = SYSTEM) -> float | None:
    """Cores' worth of time that the control group grants, None without a limit."""
    limits = [limit for group in _groups(system) if (limit := _limit(group)) is not None]
    return min(limits, default=None)


def throttled(system: Path = SYSTEM) -> Throttling | None:
    """How often the quota has stopped this process so far, None without a quota.

    The kernel counts at the group that holds the quota, hence the sum over all of them.
    """
    counts = [_counts(group) for group in _groups(system) if _limit(group) is not None]
    if not counts:
        return None
    return Throttling(
        throttled_periods=sum(one.get("nr_throttled", 0) for one in counts),
        periods=sum(one.get("nr_periods", 0) for one in counts),
    )


class QuotaWatch:
    """Whether the quota stopped this process while a region ran (a context manager)."""

    found: Throttling | None = None

    def __init__(self, system: Path = SYSTEM) -> None:
        self._system = system

    def __enter__(self) -> QuotaWatch:
        self._before = throttled(self._system)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        after = throttled(self._system)
        if self._before is not None and after is not None:
            self.found = after.since(self._before)

    def sentence(self) -> str | None:
        """What is wrong, or None if nothing was stopped."""
        if self.found is None or self.found.throttled_periods <= 0:
            return None
        return (
            f"the container's CPU quota stopped the process in {self.found.throttled_periods} of "
            f"{self.found.periods} periods meanwhile."
        )


def _groups(system: Path) -> Iterator[Path]:
    """Folders of the control groups that may limit this process, its own first, then upwards."""
    for line in _read(system / "proc/self/cgroup").splitlines():
        number, _, rest = line.partition(":")
        controllers, _, name = rest.partition(":")
        if number == "0" and not controllers:
            mounts = [system / "sys/fs/cgroup", system / "sys/fs/cgroup/unified"]
        elif "cpu" in controllers.split(","):
            mounts = [system / "sys/fs/cgroup" / controllers, system / "sys/fs/cgroup/cpu"]
        else:
            continue
        # `cpu` is often a link to `cpu,cpuacct`: one of the two is enough, or counts double.
        mount = next((mount for mount in mounts if mount.is_dir()), None)
        if mount is None:
            continue
        # Without a namespace of its own a container is told the host's path, which it cannot see;
        # its own group is then mounted as the root.
        group = mount / name.strip("/")
        while group != mount:
            yield group
            group = group.parent
        yield mount


def _limit(group: Path) -> float | None:
    words = _read(group / "cpu.max").split()
    if not words:
        words = [_read(group / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period")]
    if len(words) != 2 or not words[0].isdecimal() or not words[1].isdecimal():
        return None  # `max`, or −1 in version 1, is no limit
    amount, period = map(int, words)
    return amount / period if amount and period else None


def _counts(group: Path) -> dict[str, int]:
    pairs = (line.split() for line in _read(group / "cpu.stat").splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2 and pair[1].isdecimal()}


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
