"""Kills, full disks and many writers: each record is whole or not there, and none is lost."""

from __future__ import annotations

import errno
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from harness.errors import EnvironmentFault
from harness.leaderboard import output
from harness.records import atomic, leftovers, store
from tests.conftest import ROOT
from tests.records.test_store import TABLE, make_record
from tests.run import misbehaving

CELLS = 30
# What a run does to its records, without a framework: each is made, and then gains samples.
WRITER = """
import sys
from pathlib import Path
from harness.records import store
from tests.records.test_store import TABLE, make_record
root, first, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
store.sweep(root)
for seed in range(first, first + count):
    record = make_record()
    record = record.model_copy(update={"key": record.key.model_copy(update={"seed": seed})})
    with store.lock(root, "box-2c", record.key) as held:
        assert held
        found = store.find_usable(root, "box-2c", record.key)
        if found is not None and found.record.notes:
            continue
        made = found or store.commit(root, record, {"slices.parquet": TABLE})
        store.commit(
            root, record.model_copy(update={"notes": ["done"]}), {"history.parquet": TABLE * seed},
            keep=made,
        )
"""


def write(root: Path, first: int, count: int) -> subprocess.Popen[bytes]:
    words = [sys.executable, "-c", WRITER, str(root), str(first), str(count)]
    return subprocess.Popen(words, cwd=ROOT)


def killed_again_and_again(
    start: Callable[[], subprocess.Popen[bytes]], times: int, longest: float
) -> None:
    """Kill a command and all that it has started, each time later; then let it finish."""
    drawn = random.Random(0)
    for _ in range(times):
        process = start()
        try:
            process.wait(drawn.uniform(0.1, 1) * longest)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert start().wait(300) == 0


def test_ten_kills_lose_nothing_and_leave_nothing(tmp_path: Path) -> None:
    start = time.monotonic()
    assert write(tmp_path / "whole", 0, CELLS).wait(120) == 0
    seconds = time.monotonic() - start
    root = tmp_path / "killed"
    killed_again_and_again(lambda: write(root, 0, CELLS), 10, seconds)
    whole, killed = store.survey(tmp_path / "whole"), store.survey(root)
    assert not killed.left_out
    assert len(killed.records) == CELLS
    assert [s.record.key for s in whole.records] == [s.record.key for s in killed.records]
    for one, other in zip(whole.records, killed.records, strict=True):
        assert one.record.files == other.record.files
    assert remains(root) == []


def remains(root: Path) -> list[Path]:
    names = (".tmp", ".old", "job.", "record.", "inductor.")
    return [
        p for p in root.rglob("*") if any(n in p.name for n in names) and p.name != store.RECORD
    ]


@pytest.mark.slow
def test_a_hundred_kills_of_a_real_run_lose_nothing(disc_data: Dataset, tmp_path: Path) -> None:
    site = misbehaving.install(tmp_path / "site", "well")
    (tmp_path / "p.toml").write_text(
        'name = "kills"\n[input]\nheight = 64\nwidth = 64\n[limits]\nshare_process = true\n'
        f'[grid]\nnetworks = ["well"]\nbackends = ["numpy"]\nseeds = {list(range(CELLS))}\n'
    )
    words = [sys.executable, "-m", "harness.cli", "run", "--data", str(disc_data.folder)]
    path = os.pathsep.join([str(ROOT), str(site)])

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [*words, "--protocol", "p.toml"],
            cwd=tmp_path,
            env=dict(os.environ) | {"PYTHONPATH": path},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    killed_again_and_again(start, 100, 6)
    found = store.survey(tmp_path / "results")
    assert not found.left_out
    assert {stored.record.key.seed for stored in found.records} == set(range(CELLS))
    assert len({json.dumps(s.record.model_dump()["scores"]) for s in found.records}) == 1
    assert remains(tmp_path / "results") == []


@pytest.mark.parametrize(
    "each", [8, pytest.param(200, marks=pytest.mark.slow)], ids=["short", "long"]
)
def test_eight_writers_lose_no_record(each: int, tmp_path: Path) -> None:
    writers = [write(tmp_path, number * each, each) for number in range(8)]
    assert [writer.wait(600) for writer in writers] == [0] * 8
    found = store.survey(tmp_path)
    assert not found.left_out
    assert [s.record.key.seed for s in sorted(found.records, key=lambda s: s.record.key.seed)] == [
        *range(8 * each)
    ]


def test_a_file_size_limit_keeps_the_old_record(tmp_path: Path) -> None:
    """As a full disk, it shows when the buffer is written out."""
    path = tmp_path / "record.json"
    atomic.write_bytes(path, b"old")
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, old[1]))
    try:
        with pytest.raises(EnvironmentFault, match=r"record\.json: cannot be written \(File too"):
            atomic.write_bytes(path, b"x" * 100_000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["record.json"]


def test_a_page_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output.write(output.with_manifest({"index.html": b"old", "a.csv": b"old"}), tmp_path)
    fsync, calls = os.fsync, []

    def full(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(EnvironmentFault, match=r"a\.csv: cannot be written \(No space"):
            output.write(output.with_manifest({"index.html": b"new", "a.csv": b"new"}), tmp_path)
    assert (tmp_path / "index.html").read_bytes() == b"old"
    assert {p.name for p in tmp_path.iterdir()} == {"index.html", "a.csv", "files.txt"}


def test_leftovers_of_the_dead_are_swept_and_those_of_the_living_stay(tmp_path: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder = tmp_path / store.WORK / "box"
    folder.mkdir(parents=True)
    (folder / f"record.{leftovers.token(dead.pid)}").mkdir()
    (folder / f".x.parquet.{leftovers.token(dead.pid)}.tmp").touch()
    (folder / f"job.{leftovers.token(dead.pid)}.json").touch()
    (folder / f"job.{leftovers.token()}.json").touch()
    (folder / f"job.00000000-{dead.pid}.json").touch()  # of another host
    store.sweep(tmp_path)
    assert {p.name for p in folder.iterdir()} == {
        f"job.{leftovers.token()}.json",
        f"job.00000000-{dead.pid}.json",
    }


def test_a_swap_that_was_killed_is_settled_at_the_next_start(tmp_path: Path) -> None:
    stored = store.commit(tmp_path, make_record(), {"history.parquet": TABLE})
    stored.folder.rename(atomic.old_name(stored.folder))
    store.sweep(tmp_path)
    assert stored.folder.is_dir()
    assert remains(tmp_path) == []


def test_a_results_link_that_leads_nowhere_is_named(tmp_path: Path) -> None:
    (tmp_path / "results").symlink_to(tmp_path / "gone")
    with pytest.raises(EnvironmentFault, match="results is a link to what does not exist"):
        store.commit(tmp_path / "results", make_record())


PHANTOM = [sys.executable, "-m", "harness.cli", "data", "phantom", "--out", "set"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGKILL])
def test_a_phantom_that_is_interrupted_leaves_no_process_and_no_data_set(
    number: signal.Signals, tmp_path: Path
) -> None:
    import psutil

    words = [*PHANTOM, "--processes", "2"]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(words, cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not list(tmp_path.glob(".set-*/stacks/*.npy")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.send_signal(number)
    code = process.wait(60)
    assert code == (-number if number == signal.SIGKILL else 130)
    _, alive = psutil.wait_procs(children, timeout=15)
    assert alive == []
    assert not (tmp_path / "set").exists()
    if number != signal.SIGKILL:
        assert list(tmp_path.iterdir()) == []
