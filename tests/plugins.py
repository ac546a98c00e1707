"""Networks from outside the tree, installed by pip, and the command line that sees them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def install(package: Path, site: Path) -> None:
    """Install a package with pip into the folder `site`, metadata and entry points included."""
    words = ["pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [sys.executable, "-m", *words, "--target", str(site), str(package)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr


def fetalbench(
    *words: str | Path, site: Path, cwd: Path, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """The command line with `site` among the places where packages are installed."""
    path = os.pathsep.join([str(ROOT), str(site)])
    return subprocess.run(
        [sys.executable, "-m", "harness.cli", *map(str, words)],
        cwd=cwd,
        env=dict(os.environ) | {"PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
