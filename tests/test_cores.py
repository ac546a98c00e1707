"""Usable cores: affinity and quota, on made-up trees of control groups of both versions."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from harness import cores


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


STAT_2 = "usage_usec 5\nnr_periods {}\nnr_throttled {}\nthrottled_usec 77\n"
# (files, quota)
TREES: dict[str, tuple[dict[str, str], float | None]] = {
    "version 2, in a container": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "200000 100000\n"},
        2.0,
    ),
    "version 2, no limit": (
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": "max 100000\n"},
        None,
    ),
    "version 2, the limit is an ancestor's": (
        {
            "proc/self/cgroup": "0::/machine/job/step\n",
            "sys/fs/cgroup/machine/cpu.max": "400000 100000\n",
            "sys/fs/cgroup/machine/job/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/machine/job/step/cpu.max": "max 100000\n",
        },
        1.5,
    ),
    "version 1, the host's path is not visible": (
        {
            "proc/self/cgroup": "4:memory:/docker/ab\n3:cpu,cpuacct:/docker/ab\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "300000\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
        3.0,
    ),
    "version 1, the mount has the short name": (
        {
            "proc/self/cgroup": "3:cpuacct,cpu:/a\n0::/\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "50000\n",
            "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000\n",
        },
        0.5,
    ),
    "version 1, no limit": (
        {
            "proc/self/cgroup": "3:cpu:/\n",
            "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        },
        None,
    ),
    "no control groups": ({}, None),
}


@pytest.mark.parametrize("case", TREES)
def test_the_quota_of_the_control_group(case: str, tmp_path: Path) -> None:
    files, expected = TREES[case]
    assert cores.quota(tree(tmp_path, files)) == expected


@pytest.mark.parametrize(
    ("quota", "expected"), [("max", 8), ("1000000", 8), ("250000", 2), ("50000", 1)]
)
def test_no_more_cores_than_the_quota_feeds(
    quota: str, expected: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(4, 12)))
    files = {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.max": f"{quota} 100000\n"}
    system = tree(tmp_path, files)
    assert cores.usable(system) == list(range(4, 4 + expected))
    assert cores.count(system) == expected


def test_affinity_alone_still_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5, 3})
    assert cores.usable(tmp_path) == [3, 5]
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 3)
    assert cores.usable(tmp_path) == [0, 1, 2]


def test_throttled_periods_are_a_doubt(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "0::/a\n",
        "sys/fs/cgroup/cpu.max": "200000 100000\n",
        "sys/fs/cgroup/cpu.stat": STAT_2.format(100, 7),
        # Counted where the quota is, and not where there is none.
        "sys/fs/cgroup/a/cpu.stat": STAT_2.format(900, 800),
    }
    system = tree(tmp_path, files)
    with cores.QuotaWatch(system) as watch:
        tree(tmp_path, {"sys/fs/cgroup/cpu.stat": STAT_2.format(150, 17)})
    assert watch.found == cores.Throttling(throttled_periods=10, periods=50)
    assert watch.sentence() == (
        "the container's CPU quota stopped the process in 10 of 50 periods meanwhile."
    )


def test_without_a_quota_nothing_is_stopped(tmp_path: Path) -> None:
    system = tree(
        tmp_path,
        {"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/cpu.stat": STAT_2.format(9, 9)},
    )
    assert cores.throttled(system) is None
    with cores.QuotaWatch(system) as watch:
        pass
    assert watch.sentence() is None


def test_a_quiet_quota_is_no_doubt(tmp_path: Path) -> None:
    files = {
        "proc/self/cgroup": "3:cpu:/\n",
        "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "100000\n",
        "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000\n",
        "sys/fs/cgroup/cpu/cpu.stat": "nr_periods 5\nnr_throttled 2\nthrottled_time 9\n",
    }
    system = tree(tmp_path, files)
    with cores.QuotaWatch(system) as watch:
        pass
    assert watch.found == cores.Throttling()
    assert watch.sentence() is None
