"""Cells on a real Slurm, started here: killed, requeued, its controller restarted."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from harness.records.store import load_records
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
threads = 1
quantities = ["end_to_end"]
[limits]
cell_seconds = 300
share_process = true
"""
EPOCHS = 8
LAUNCH = ("--launch", "slurm", "--partition", "main", "--cpus", "1", "--time", "10")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    reason = why_not()
    if reason is None and find_spec("submitit") is None:
        reason = "submitit is not installed (pip install 'fetalbench[slurm]')"
    if reason:
        # Continuous integration has installed it.
        assert "FETALBENCH_NEEDS_SLURM" not in os.environ, reason
        pytest.skip(f"no Slurm here: {reason}")
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
        (folder / "cluster.toml").write_text(PROTOCOL.format(epochs=EPOCHS))
        self._data = ("--data", str(dataset.folder), "--protocol", "cluster.toml")

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness.cli", *words],
            cwd=self.folder,
            env=self.cluster.environment | {"COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=400,
            check=False,
        )

    def launch(self, *words: str) -> str:
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

    def reports(self, line: str) -> int:
        """How many jobs have written the line to their output."""
        outputs = self.results.glob(".work/slurm/*.out")
        return sum(line in path.read_text() for path in outputs)


@pytest.mark.slow  # a cluster of two slots takes a minute; .ci/run calls it by name
def test_twelve_cells_survive_a_kill_a_requeue_and_a_lost_controller(
    cluster: Cluster, disc_data: Dataset, tmp_path: Path
) -> None:
    study = Study(cluster, disc_data, tmp_path)
    # One that trains for long enough to be put back into the queue between two epochs.
    said = study.launch("--networks", "rfbsnet", "--backends", "torch")
    assert "1 cells: 0 done, 0 in the queue, 1 submitted as jobs" in said
    study.until(lambda: list(study.results.rglob("checkpoint.safetensors")))
    (requeued,) = study.running()
    cluster.said("scontrol", "requeue", requeued)

    seeds = ",".join(map(str, range(11)))
    others = ("--networks", "threshold", "--backends", "numpy", "--seeds", seeds)
    assert "11 submitted as jobs" in study.launch(*others)
    study.until(lambda: [job for job in study.running() if "_" in job])
    killed = next(job for job in study.running() if "_" in job)
    cluster.said("scancel", killed)
    cluster.restart_controller()
    # What is in the queue is not submitted a second time, what was cancelled is.
    study.until(lambda: killed not in study.running())
    again = study.launch(*others)
    assert re.search(r" done, [1-9]\d* in the queue, 1 submitted as jobs", again), again

    collected = study.call("collect", "--wait")
    assert collected.returncode == 0, collected.stderr
    assert "12 done" in collected.stderr
    records = [stored.record for stored in load_records(study.results)]
    assert Counter(record.key.network for record in records) == {"threshold": 11, "rfbsnet": 1}
    assert {record.status for record in records} == {"ok"}
    # Each was computed once; the first seed was timed by a job of its own.
    assert study.reports("threshold × numpy: ok") == 11 + 1
    assert study.reports("rfbsnet × torch: ok") == 1 + 1
    assert {record.key.network for record in records if record.latency} == {"threshold", "rfbsnet"}
    assert sum(bool(record.latency) for record in records) == 2
    (trained,) = (record.training for record in records if record.key.network == "rfbsnet")
    assert trained is not None
    assert 0 < trained.resumed_from_epoch < EPOCHS
