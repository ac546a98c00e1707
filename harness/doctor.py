"""What `doctor` looks at."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from harness import cores, registry
from harness.jobs.environment import gpu_present, worker_environment
from harness.measuring.machine import machine

LEAST_DISK_GB = 5.0
LEAST_MEMORY_GB = 4.0
IMPORT_SECONDS = 180
# What executes exported networks, beside the frameworks: plans of the PyTorch backend.
RUNTIMES = (("onnxruntime", "ONNX Runtime"), ("openvino", "OpenVINO"))


@dataclass(frozen=True, kw_only=True)
class Check:
    """One thing looked at: its state, and the remedy if it is not ok."""

    what: str
    status: Literal["ok", "missing", "low", "broken"]
    detail: str
    remedy: str = ""
    is_framework: bool = False

    def row(self) -> dict[str, str]:
        """The check as a row of the table."""
        return {
            "what": self.what,
            "status": self.status,
            "detail": self.detail,
            "remedy": self.remedy,
        }


def checks(*, deep: bool) -> list[Check]:
    """All checks; `deep` imports each framework as a worker would, which takes seconds each."""
    here = machine()
    memory_gb = here.memory_bytes / 1e9
    disk_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    return [
        Check(what="python", status="ok", detail=platform.python_version()),
        Check(
            what="processor",
            status="ok",
            detail=f"{here.processor}, {cores.count()} usable cores",
        ),
        Check(
            what="memory",
            status="ok" if memory_gb >= LEAST_MEMORY_GB else "low",
            detail=f"{memory_gb:.1f} GB",
            remedy="" if memory_gb >= LEAST_MEMORY_GB else "train with smaller batches",
        ),
        Check(
            what="disk",
            status="ok" if disk_gb >= LEAST_DISK_GB else "low",
            detail=f"{disk_gb:.0f} GB free here",
            remedy="" if disk_gb >= LEAST_DISK_GB else "free some space, or work in another folder",
        ),
        _gpu(here.gpu),
        *[_framework(name, deep) for name in registry.frameworks() if name != "numpy"],
        *[_installed(title, (module,), "deploy", "cpu", deep) for module, title in RUNTIMES],
    ]


def _gpu(name: str | None) -> Check:
    if name:
        return Check(what="gpu", status="ok", detail=name)
    if gpu_present():
        return Check(
            what="gpu",
            status="low",
            detail="present, but NVML does not answer: no name, clocks, temperature or power",
            remedy="pip install 'fetalbench[gpu]'; inside a container, give it the utility driver",
        )
    return Check(
        what="gpu",
        status="missing",
        detail="no NVIDIA GPU is visible",
        remedy="needed only for the paper's protocol and GPU figures",
    )


def _framework(name: str, deep: bool) -> Check:
    modules, extra = registry.BACKEND_NEEDS.get(name, ((), name))
    device = "cuda" if gpu_present() else "cpu"
    title = registry.BACKEND_TITLES.get(name, name)
    found = _installed(title, modules, extra, device, deep, backend=name)
    return replace(found, is_framework=True)


def _installed(
    title: str, modules: tuple[str, ...], extra: str, device: str, deep: bool, backend: str = ""
) -> Check:
    missing = registry.missing(modules)
    if missing:
        return Check(
            what=title,
            status="missing",
            detail=f"{', '.join(missing)} not installed",
            remedy=f"pip install 'fetalbench[{extra}]'",
        )
    error = _import_error(modules, device, backend) if deep else None
    if error:
        return Check(
            what=title,
            status="broken",
            detail=error,
            remedy=f"pip install --force-reinstall 'fetalbench[{extra}]'",
        )
    versions = [f"{module} {registry.installed_version(module)}" for module in modules]
    return Check(what=title, status="ok", detail=", ".join(versions))


def _import_error(modules: tuple[str, ...], device: str, backend: str) -> str | None:
    try:
        done = subprocess.run(
            [sys.executable, "-c", f"import {', '.join(modules)}"],
            env=worker_environment(backend, device, cores.count(), None),
            capture_output=True,
            text=True,
            timeout=IMPORT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"importing took more than {IMPORT_SECONDS} s"
    lines = [line for line in done.stderr.splitlines() if line.strip()]
    return None if done.returncode == 0 else (lines[-1] if lines else "importing failed")
