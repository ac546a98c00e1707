"""The page of very many records: time and memory, in a process of its own."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.records.soundness import digest_of
from tests.conftest import ROOT
from tests.report import factory
from tests.report.factory import Cell

REPORT = """
import json, resource, sys, time
from pathlib import Path
start = time.perf_counter()
from harness.leaderboard import page
files = page.render(Path(sys.argv[1]))
print(json.dumps({
    "records": files["leaderboard.csv"].count(b"record.json"),
    "seconds": time.perf_counter() - start,
    "peak_bytes": 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss,
    "page_bytes": len(files["index.html"]),
}))
"""


def rendered(results: Path) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-c", REPORT, str(results)],
        cwd=ROOT, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    return json.loads(done.stdout)


def copy_machine(results: Path, machine: str, other: str) -> None:
    """Records as if another machine had made them too; writing each anew takes minutes."""
    shutil.copytree(results / machine, results / other)
    for path in (results / other).rglob("record.json"):
        record = json.loads(path.read_text(encoding="utf-8").replace(machine, other))
        record["seconds"] += int(other.rpartition("-")[2])
        record["digest"] = digest_of(record)
        path.write_text(json.dumps(record), encoding="utf-8")


@pytest.mark.slow
@pytest.mark.alone
def test_two_thousand_cells_make_a_page_in_half_a_minute(tmp_path: Path) -> None:
    cells = [
        Cell(network=network, backend=backend, seed=seed, machine="machine-0")
        for network in factory.NETWORKS
        for backend in ("torch", "keras", "flax")
        for seed in range(10)
    ]
    results = factory.write_results(tmp_path / "results", cells)
    for number in range(1, 8):
        copy_machine(results, "machine-0", f"machine-{number}")
    found = rendered(results)
    assert found["records"] == 8 * len(cells)
    assert found["seconds"] <= 30, found
    assert found["peak_bytes"] <= 1.5e9, found
    assert found["page_bytes"] <= 3e6, found


@pytest.mark.slow
@pytest.mark.alone
def test_the_grid_makes_a_page_in_ten_seconds(results: Path) -> None:
    found = rendered(results)
    assert found["seconds"] <= 10, found
    assert found["page_bytes"] <= 3e6, found
