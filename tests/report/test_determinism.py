"""Same records, same bytes: in any process, and in the repository itself."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from harness.leaderboard import page as leaderboard
from harness.leaderboard.output import differences
from tests.conftest import ROOT
from tests.report import factory
from tests.report.factory import Cell

DIGEST = """
import hashlib, sys
from pathlib import Path
from harness.leaderboard.publishing import published_files
for name, content in sorted(published_files(Path(sys.argv[1])).items()):
    print(name, hashlib.sha256(content).hexdigest())
"""


def digests(results: Path, hash_seed: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", DIGEST, str(results)],
        cwd=ROOT,
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    return done.stdout.splitlines()


def test_two_processes_with_other_hashes_write_the_same(tmp_path: Path) -> None:
    """The order of Python's sets differs between them."""
    cells = [
        Cell(network=network, backend=backend, seed=seed, processes=2)
        for network in ("rfbsnet", "unet")
        for backend in ("torch", "flax")
        for seed in (0, 1)
    ]
    cells.append(Cell(network="segnet", status="crashed", reason="It crashed."))
    results = factory.write_results(tmp_path / "results", cells)
    first, second = digests(results, "1"), digests(results, "2")
    assert len(first) > 20
    assert first == second


def test_the_committed_page_is_that_of_the_committed_records() -> None:
    """If not, run `fetalbench report` in the root of the repository."""
    files = leaderboard.render(ROOT / "results")
    assert differences(files, ROOT / "reports") == []
