"""One bad cell never ends a run: each has its status and reason, the next one is done."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from harness.data.catalogue import Dataset
from harness.records.schema import Record
from harness.records.store import survey
from tests.conftest import ROOT
from tests.run import misbehaving

PROTOCOL = """
name = "bad"
[input]
height = 64
width = 64
[measuring]
quantities = ["end_to_end"]
[grid]
networks = [{networks}]
backends = ["numpy"]
[limits]
cell_seconds = {seconds}
"""


def command(folder: Path, data: Dataset, *networks: str, seconds: float = 60) -> list[str]:
    names = ", ".join(f'"{name}"' for name in networks)
    (folder / "bad.toml").write_text(PROTOCOL.format(networks=names, seconds=seconds))
    words = [sys.executable, "-m", "harness.cli", "run", "--data", str(data.folder)]
    return [*words, "--protocol", "bad.toml", "--device", "cpu"]


def environment(site: Path) -> dict[str, str]:
    return dict(os.environ) | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(site)])}


def run(
    folder: Path, data: Dataset, *networks: str, seconds: float = 60
) -> tuple[subprocess.CompletedProcess[str], dict[str, Record]]:
    site = misbehaving.install(folder / "site", *networks)
    done = subprocess.run(
        command(folder, data, *networks, seconds=seconds),
        cwd=folder,
        env=environment(site),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    found = survey(folder / "results")
    assert not found.left_out
    return done, {stored.record.key.network: stored.record for stored in found.records}


def workers(folder: Path) -> list[psutil.Process]:
    """Processes of a run below the folder, workers and what they started."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = " ".join(process.info["cmdline"] or ())
        if str(folder) in words and process.pid != os.getpid():
            found.append(process)
    return found


STATUSES = {
    "exits130": "crashed",
    "realtime": "crashed",
    "moves": "ok",
    "shouts": "crashed",
    "silent": "crashed",
    "exits0": "crashed",
    "segfault": "crashed",
    "no_memory": "oom",
    "cuda_memory": "oom",
    "well": "ok",
}


@pytest.mark.parametrize(
    "bad",
    [
        ("exits130", "realtime", "moves", "shouts", "silent"),
        pytest.param(tuple(STATUSES), marks=pytest.mark.slow),
    ],
    ids=["few", "all"],
)
def test_each_bad_cell_has_its_status_and_the_next_one_is_done(
    bad: tuple[str, ...], disc_data: Dataset, tmp_path: Path
) -> None:
    done, found = run(tmp_path, disc_data, *bad)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    statuses = {name: record.status for name, record in found.items()}
    assert statuses == {name: STATUSES[name] for name in bad}
    reasons = {name: record.reason or "" for name, record in found.items()}
    if "exits0" in bad:
        assert "exited without reporting a result" in reasons["exits0"]
        assert "SIGSEGV" in reasons["segfault"]
    assert "exited with code 130" in reasons["exits130"]
    assert f"signal {signal.SIGRTMIN + 3}" in reasons["realtime"]
    assert reasons["silent"] == "the worker exited with code 3: no output"
    assert len(reasons["shouts"]) <= 2000
    assert "\x1b" not in reasons["shouts"]
    assert "bad" in reasons["shouts"]
    # A second run explains itself, and not by the first one's log.
    log = next(tmp_path.glob("results/.work/**/silent/numpy/seed-0/log.txt"))
    log.write_text("Monday's message\n")
    again = subprocess.run(
        command(tmp_path, disc_data, "silent"),
        cwd=tmp_path, env=environment(tmp_path / "site"), capture_output=True, text=True,
        timeout=300, check=False,
    )  # fmt: skip
    assert "Monday" not in again.stdout + again.stderr
    assert "0 done" in again.stderr


@pytest.mark.slow  # waits for limits: 20 s
def test_a_log_keeps_head_and_tail_and_a_child_cannot_hold_a_run(
    disc_data: Dataset, tmp_path: Path
) -> None:
    start = time.monotonic()
    done, found = run(tmp_path, disc_data, "floods", "forks", "leaves_child", seconds=30)
    try:
        assert time.monotonic() - start < 120
        assert found["floods"].status == "crashed"
        assert found["forks"].status == "ok", done.stderr
        log = next(tmp_path.glob("results/.work/**/floods/numpy/seed-0/log.txt"))
        assert log.stat().st_size < 12e6
        assert b"bytes left out" in log.read_bytes()
    finally:
        for process in psutil.process_iter(["cmdline"]):
            if process.info["cmdline"] == ["sleep", "600"]:
                process.kill()


@pytest.fixture
def started(disc_data: Dataset, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run whose only network hangs while it is evaluated."""
    site = misbehaving.install(tmp_path / "site", "hangs")
    process = subprocess.Popen(
        command(tmp_path, disc_data, "hangs"),
        cwd=tmp_path,
        env=environment(site),
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob("results/.work/**/lock")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(1)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_no_worker_outlives_its_run(
    number: signal.Signals, started: subprocess.Popen[str], tmp_path: Path
) -> None:
    (worker,) = psutil.Process(started.pid).children()
    started.send_signal(number)
    if number != signal.SIGKILL:
        assert started.wait(30) == 130
    worker.wait(10)
    assert not workers(tmp_path / "results")
