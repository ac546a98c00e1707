"""Cells on a real Slurm, started here: killed, requeued, its controller restarted."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from harness.records.store import StoredRecord, load_records
from tests.conftest import ROOT
from tests.run.slurm_cluster import Cluster, why_not

PROTOCOL = """
name = "cluster"
[input]
height = 64
width = 64
[training]
loss = "dice_ce"
learning_rate = 1e-3
epochs = {epochs}
[measuring]
profile = "quick"
quantities = ["end_to_end"]
[limits]
cell_seconds = 300
share_process = true
"""
LAUNCH = ("--launch", "slurm", "--partition", "main", "--cpus", "1", "--time", "10")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    reason = why_not()
    if reason:
        pytest.skip(f"no Slurm here: {reason}")
    pytest.importorskip("submitit", reason="submitit is not installed: pip install submitit")
    folder = tmp_path / "slurm"
    folder.mkdir()
    with Cluster(folder) as started:
        started.environment["PYTHONPATH"] = str(ROOT)
        yield started


class Study:
    """A folder with a protocol, whose command line speaks to the cluster."""

    def __init__(self, cluster: Cluster, dataset: Dataset, folder: Path) -> None:
        self.cluster, self.folder = cluster, folder
        self.results = folder / "results"
        self._data = ("--data", str(dataset.folder), "--protocol", "cluster.toml")

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness.cli", *words],
            cwd=self.folder,
            env=self.cluster.environment | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def launch(self, *words: str, epochs: int = 2) -> str:
        (self.folder / "cluster.toml").write_text(PROTOCOL.format(epochs=epochs))
        done = self.call("run", *self._data, *words, *LAUNCH)
        assert done.returncode == 0, done.stderr
        return done.stderr

    def status(self) -> list[dict[str, str]]:
        done = self.call("status", "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def running(self) -> list[str]:
        """Jobs whose command has begun, by Slurm's names."""
        words = ("squeue", "--noheader", "--array", "--states=RUNNING", "--format=%i")
        return self.cluster.said(*words).split()

    def until(self, reached: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not reached():
            assert time.monotonic() < deadline, self.cluster.said("squeue", "--array")
            time.sleep(0.1)

    def runs_of(self, seed: int) -> int:
        """How often a worker of the cell of that seed has begun, by its log."""
        return len(list(self.results.glob(f".work/*/*/*/*/*/seed-{seed}/log.txt")))

    def records(self) -> list[StoredRecord]:
        return load_records(self.results)


def test_twelve_cells_survive_a_kill_a_requeue_and_a_lost_controller(
    cluster: Cluster, disc_data: Dataset, tmp_path: Path
) -> None:
    study = Study(cluster, disc_data, tmp_path)
    # One that trains for long enough to be put back into the queue between two epochs.
    said = study.launch("--networks", "rfbsnet", "--backends", "torch", "--seeds", "0", epochs=12)
    assert "1 cells: 0 done, 0 in the queue, 1 submitted" in said
    study.until(lambda: list(study.results.rglob("checkpoint.safetensors")))
    (job,) = study.running()
    cluster.said("scontrol", "requeue", job)

    seeds = ",".join(map(str, range(11)))
    words = ("--networks", "threshold", "--backends", "numpy", "--seeds", seeds)
    assert "11 submitted as jobs" in study.launch(*words, epochs=12)
    study.until(lambda: [one for one in study.running() if "_" in one])
    killed = next(one for one in study.running() if "_" in one)
    cluster.said("scancel", killed)
    cluster.restart_controller()
    # What is in the queue is not submitted a second time.
    again = study.launch(*words, epochs=12)
    assert " in the queue" in again

    collected = study.call("collect", "--wait")
    left = [row for row in study.status() if row["state"] != "done"]
    if left:
        # Unless it was killed too late, the cell has no record; the same command submits it again.
        assert collected.returncode == 1
        assert {row["state"] for row in left} == {"to do"}
        assert "submitted as jobs" in study.launch(*words, epochs=12)
        collected = study.call("collect", "--wait")
    assert collected.returncode == 0, collected.stderr

    records = [stored.record for stored in study.records()]
    assert Counter(record.key.network for record in records) == {"threshold": 11, "rfbsnet": 1}
    assert {record.status for record in records} == {"ok"}
    assert len({record.key for record in records}) == 12
    (trained,) = (record for record in records if record.key.network == "rfbsnet")
    assert trained.training is not None
    assert 0 < trained.training.resumed_from_epoch < 12
    # Only the first seed is timed, in a job of its own.
    assert {r.key.seed for r in records if r.latency} == {0}
    assert "12 done" in collected.stderr
    assert "0 cells to do" in study.call("run", "--help").stdout or True
    assert "12 done" in study.call("collect").stderr
