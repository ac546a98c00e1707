"""Where a record comes from: code, versions, environment, machine; never a user or host name."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from harness.record_schema import Machine, Provenance

# Variables that change what a framework computes or how fast.
PREFIXES = ("OMP_", "MKL_", "TF_", "XLA_", "JAX_", "KERAS_BACKEND", "CUDA_VISIBLE", "CUBLAS_")
LIBRARIES = ("numpy", "scipy", "pandas", "pyarrow", "safetensors", "nibabel")


def fetalbench_version() -> str:
    """The installed version, or that of the source tree where nothing is installed."""
    try:
        return metadata.version("fetalbench")
    except metadata.PackageNotFoundError:
        return "source tree"


def _git(*words: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *words],
            cwd=Path(__file__).parent,
            capture_output=True,
            text=True,
            timeout=10,
            check=True,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _environment() -> dict[str, str]:
    """The variables that matter; of a path only that it is one, since paths name users."""
    chosen = {k: v for k, v in sorted(os.environ.items()) if k.startswith(PREFIXES)}
    return {k: "(a path)" if os.sep in v else v for k, v in chosen.items()}


def collect(backend_versions: dict[str, str], hardware: Machine) -> Provenance:
    """The provenance of a record made by this process on `hardware`."""
    commit = _git("rev-parse", "HEAD")
    return Provenance(
        fetalbench=fetalbench_version(),
        git_commit=commit,
        git_dirty=bool(_git("status", "--porcelain", "--untracked-files=no")) if commit else None,
        python=platform.python_version(),
        versions={name: metadata.version(name) for name in LIBRARIES} | backend_versions,
        environment=_environment(),
        machine=hardware,
    )
