"""Slots: trainings side by side on cores of their own, measurements alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from harness.errors import UsageError
from harness.jobs import events
from harness.jobs.job import Job, Stage
from harness.protocol import parse_protocol
from harness.records.schema import CellKey
from harness.records.store import load_records
from harness.run import slots
from harness.run.slots import Slot
from tests.conftest import ROOT, Fetalbench
from tests.run.test_grid import template_of

TRAIN: tuple[Stage, ...] = ("train", "evaluate")


def ignore(_: events.Event) -> None:
    pass


def refuse(event: events.Event) -> None:
    pytest.fail(f"nothing to tell, but {event}")


def job_of(
    dataset: Dataset, folder: Path, seed: int, *, backend: str = "torch", at_once: int = 2, **tables
) -> Job:
    template = template_of(dataset, folder, **tables)
    cell = CellKey(
        network="rfbsnet",
        backend=backend,
        dataset="discs",
        dataset_hash=dataset.meta.hash,
        protocol="x",
        protocol_hash=template.protocol.hash,
        seed=seed,
    )
    update = {"cells": (cell,), "stages": TRAIN, "at_once": at_once}
    return template.model_copy(update=update)


@pytest.fixture
def four_cores(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("harness.cores.usable", lambda *_: [4, 5, 6, 7])
    monkeypatch.setattr("harness.cores.count", lambda *_: 4)
    monkeypatch.setenv(slots.VARIABLE, str(tmp_path / "locks"))


@pytest.mark.usefixtures("four_cores")
def test_no_two_workers_share_a_core(disc_data: Dataset, tmp_path: Path) -> None:
    taken: list[int] = []
    most, lock = 0, threading.Lock()

    def do(_job: Job, _report: Callable[[events.Event], None], slot: Slot) -> None:
        nonlocal most
        with lock:
            assert not {*slot.cores} & {*taken}
            taken.extend(slot.cores)
            most = max(most, len(taken))
        time.sleep(0.05)
        with lock:
            for core in slot.cores:
                taken.remove(core)

    slots.side_by_side([job_of(disc_data, tmp_path, seed) for seed in range(6)], ignore, do)
    assert most == 4


@pytest.mark.usefixtures("four_cores")
def test_weights_are_there_before_those_who_carry_them(disc_data: Dataset, tmp_path: Path) -> None:
    training = {"weights_from": "torch"}
    jobs = [
        job_of(disc_data, tmp_path, seed, backend=backend, training=training)
        for seed in (0, 1)
        for backend in ("keras", "torch", "flax")
    ]
    order: list[str] = []

    def do(job: Job, _report: Callable[[events.Event], None], _slot: Slot) -> None:
        time.sleep(0.05 if job.backend == "torch" else 0)
        order.append(job.backend)

    slots.side_by_side(jobs, ignore, do)
    assert order[:2] == ["torch", "torch"]
    assert sorted(order[2:]) == ["flax", "flax", "keras", "keras"]


@pytest.mark.usefixtures("four_cores")
def test_the_first_that_raises_stops_the_others(disc_data: Dataset, tmp_path: Path) -> None:
    class Broken(Exception):
        pass

    begun: list[int] = []

    def do(job: Job, _report: Callable[[events.Event], None], slot: Slot) -> None:
        begun.append(job.cells[0].seed)
        if job.cells[0].seed == 1:
            raise Broken
        assert slot.stop.wait(10)
        raise KeyboardInterrupt

    with pytest.raises(Broken):
        slots.side_by_side([job_of(disc_data, tmp_path, seed) for seed in range(6)], ignore, do)
    assert sorted(begun)[:2] == [0, 1]
    assert len(begun) <= 3


@pytest.mark.usefixtures("four_cores")
def test_more_threads_than_cores_are_refused(disc_data: Dataset, tmp_path: Path) -> None:
    crowded = job_of(disc_data, tmp_path, 0, at_once=3, measuring={"threads": 2})
    with pytest.raises(
        UsageError, match="--jobs 3: with 2 threads each that takes more than the 4"
    ):
        slots.divided(crowded)
    with pytest.raises(UsageError, match="more than the 4 cores"):
        slots.divided(job_of(disc_data, tmp_path, 0, at_once=5))
    each = slots.divided(job_of(disc_data, tmp_path, 0, at_once=2, measuring={"threads": 1}))
    assert [slot.cores for slot in each] == [(4,), (5,)]


@pytest.mark.usefixtures("four_cores")
def test_auto_is_what_cores_and_memory_allow(monkeypatch: pytest.MonkeyPatch) -> None:
    class Free:
        available = 9e9

    monkeypatch.setattr("psutil.virtual_memory", Free)

    def most(device: str, **tables: object) -> int:
        return slots.most(parse_protocol({"name": "x"} | tables, "x"), device)

    assert most("cpu") == 2
    assert most("cpu", limits={"memory_gb": 1.0}) == 4
    assert most("cpu", limits={"memory_gb": 1.0}, measuring={"threads": 2}) == 2
    assert most("cpu", limits={"memory_gb": 100.0}) == 1
    assert most("cuda", limits={"memory_gb": 1.0}) == 1


@pytest.mark.usefixtures("four_cores")
@pytest.mark.parametrize(
    ("first", "second", "waits"),
    [
        ("train", "train", False),
        ("train", "measure", True),
        ("measure", "train", True),
        ("measure", "measure", True),
    ],
)
def test_only_what_measures_has_its_device_alone(
    disc_data: Dataset, tmp_path: Path, first: Stage, second: Stage, waits: bool
) -> None:
    one = job_of(disc_data, tmp_path, 0).model_copy(update={"stages": (first,)})
    other = job_of(disc_data, tmp_path, 1).model_copy(update={"stages": (second,)})
    told: list[events.Event] = []
    entered = threading.Event()

    def enter() -> None:
        with slots.held(other, slots.whole(), told.append):
            entered.set()

    thread = threading.Thread(target=enter)
    with slots.held(one, slots.whole(), ignore):
        thread.start()
        assert entered.wait(0.6) is not waits
    thread.join(10)
    assert entered.is_set()
    assert [type(event) for event in told] == ([events.DeviceBusy] if waits else [])


@pytest.mark.usefixtures("four_cores")
def test_measurements_on_other_cores_or_gpus_do_not_wait(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(disc_data, tmp_path, 0).model_copy(update={"stages": ("measure",)})
    with slots.held(job, Slot((4, 5)), ignore), slots.held(job, Slot((6, 7)), refuse):
        pass
    gpu = job.model_copy(update={"device": "cuda"})
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    with slots.held(gpu, slots.whole(), ignore):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
        with slots.held(gpu, slots.whole(), refuse):
            pass
        stopped = slots.whole()
        stopped.stop.set()
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
        with pytest.raises(KeyboardInterrupt), slots.held(gpu, stopped, ignore):
            pass


PROTOCOL = """
name = "short"
[input]
height = 64
width = 64
[training]
epochs = 100000
[measuring]
threads = 1
[limits]
cell_seconds = 300
"""


@pytest.mark.slow  # every cell twice: half a minute
def test_cells_side_by_side_leave_the_records_of_cells_in_a_row(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "short.toml").write_text(PROTOCOL)
    words = ("run", "--data", disc_data.folder, "--protocol", "short.toml", "--networks")
    words = (*words, "threshold", "--seeds", "0,1,2", "--stages", "train,evaluate", "--jobs")
    assert fetalbench(*words, "auto", "--results", "at-once").returncode == 0
    assert fetalbench(*words, "1", "--results", "in-a-row").returncode == 0
    found = [
        {stored.record.key: stored.record.scores for stored in load_records(tmp_path / name)}
        for name in ("at-once", "in-a-row")
    ]
    assert len(found[0]) == 3
    assert found[0] == found[1]
    bad = fetalbench(*words, "many")
    assert (bad.returncode, "expected auto" in bad.stderr) == (2, True)


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two cores for two slots")
def test_a_signal_ends_every_worker_and_keeps_their_checkpoints(
    disc_data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "short.toml").write_text(PROTOCOL)
    words = [sys.executable, "-m", "harness.cli", "run", "--data", str(disc_data.folder)]
    words += ["--protocol", "short.toml", "--networks", "rfbsnet,enet", "--backends", "torch"]
    words += ["--stages", "train,evaluate", "--jobs", "2"]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )

    def checkpoints() -> int:
        return len(list(tmp_path.glob("results/.work/*/*/*/*/*/*/checkpoint.safetensors")))

    deadline = time.monotonic() + 240
    while checkpoints() < 2:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    workers = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    assert len(workers) == 2
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130, errors
    assert "start the same command again to resume" in errors
    assert not [pid for pid in workers if Path(f"/proc/{pid}").exists()]
    assert checkpoints() == 2
