"""Slots of this machine: which cores a worker gets, and what must not run beside it.

A worker that measures holds its device alone, one that trains shares it, among all runs of this
user on this machine. The device is each core that the worker may use and its GPU; each is a file
in the temporary folder, locked by `flock`, so that a killed run leaves nothing locked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from harness import cores
from harness.errors import EnvironmentFault, UsageError
from harness.jobs import events
from harness.jobs.environment import worker_threads
from harness.jobs.events import Event, Report
from harness.jobs.job import Job
from harness.protocol import Protocol
from harness.run.launch import donor

POLL_SECONDS = 0.2
# Another folder for the locks: runs that name different ones do not wait for each other.
VARIABLE = "FETALBENCH_LOCKS"
# Of a training whose protocol sets no limit: a framework, a data set in memory, a network.
USUAL_GB = 4.0


@dataclass(frozen=True)
class Slot:
    """The cores of one worker at a time, 1/`count` of the machine; `stop` asks it to end."""

    cores: tuple[int, ...]
    count: int = 1
    stop: threading.Event = field(default_factory=threading.Event)

    def threads(self, job: Job) -> int:
        """Threads of the job's worker here. Raises `EnvironmentFault`."""
        return min(worker_threads(job.threads), len(self.cores))


def whole() -> Slot:
    """The machine as one slot."""
    return Slot(tuple(cores.usable()))


def most(protocol: Protocol, device: str) -> int:
    """How many trainings `--jobs auto` starts at once: what cores and free memory allow.

    On a GPU one, since the memory that a network wants there is not known before.
    """
    if device != "cpu":
        return 1
    free_gb = psutil.virtual_memory().available / 1e9
    by_memory = int(free_gb / (protocol.limits.memory_gb or USUAL_GB))
    return max(1, min(cores.count() // max(1, protocol.measuring.threads), by_memory))


def divided(job: Job) -> list[Slot]:
    """The machine in `job.at_once` slots with equal numbers of cores. Raises `UsageError`."""
    usable, count = cores.usable(), job.at_once
    each = job.threads or len(usable) // count
    if each * count > len(usable) or not each:
        raise UsageError(
            f"--jobs {count}: with {max(1, job.threads)} threads each that takes more than the "
            f"{len(usable)} cores of this machine; --jobs auto takes what there is."
        )
    stop = threading.Event()
    return [Slot(tuple(usable[i * each : (i + 1) * each]), count, stop) for i in range(count)]


def side_by_side(
    jobs: Sequence[Job], report: Report, do: Callable[[Job, Report, Slot], None]
) -> None:
    """Do the jobs in the slots of the machine; those whose weights others carry come first.

    The first that raises, or Ctrl-C, stops them all; they end in order before this returns.
    """
    free = divided(jobs[0])
    stop, lock = free[0].stop, threading.Lock()

    def tell(event: Event) -> None:
        with lock:
            report(event)

    def take(job: Job) -> None:
        with lock:
            slot = free.pop()
        try:
            if not stop.is_set():
                do(job, tell, slot)
        finally:
            with lock:
                free.append(slot)

    carried = [job for job in jobs if any(donor(job, cell) for cell in job.cells)]
    for wave in ([job for job in jobs if job not in carried], carried):
        with ThreadPoolExecutor(len(free)) as pool:
            futures = [pool.submit(take, job) for job in wave]
            _finish(futures, stop)


def _finish(futures: Sequence[Future[None]], stop: threading.Event) -> None:
    """Wait for all; raise what the first of them raised that did."""
    first = None
    try:
        done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        first = next((error for one in done if (error := one.exception())), None)
        if first is not None:
            stop.set()
    except KeyboardInterrupt:
        stop.set()
    try:
        wait(futures)
    except KeyboardInterrupt:
        _kill_workers()
    for future in futures:
        first = first or future.exception()
    if first is not None:
        raise first


def _kill_workers() -> None:
    """Ctrl-C came again: the children of this process lead sessions of their own."""
    for child in psutil.Process().children():
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)


@contextlib.contextmanager
def held(job: Job, slot: Slot, report: Report) -> Iterator[None]:
    """Hold the job's device while its worker runs: alone if it measures, else with others."""
    measures = any(job.measures(cell) for cell in job.cells) or "stream" in job.stages
    names = [f"core-{core}" for core in slot.cores]
    wanted = [(name, measures and job.device == "cpu") for name in sorted(names)]
    if job.device == "cuda":
        first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip()
        wanted.append((f"gpu-{first.replace(os.sep, '-')}", measures))
    folder = _folder()
    with contextlib.ExitStack() as files:
        # In the same order everywhere: nobody waits for one who waits for him.
        for name, alone in wanted:
            file = files.enter_context((folder / name).open("w"))
            _lock(file.fileno(), fcntl.LOCK_EX if alone else fcntl.LOCK_SH, job, slot, report)
        yield


def _lock(descriptor: int, kind: int, job: Job, slot: Slot, report: Report) -> None:
    told = False
    while True:
        try:
            fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if not told:
                report(events.DeviceBusy(cell=job.cells[0]))
            told = True
        if slot.stop.is_set():
            raise KeyboardInterrupt
        time.sleep(POLL_SECONDS)


def _folder() -> Path:
    usual = Path(tempfile.gettempdir()) / f"fetalbench-{os.getuid()}"
    folder = Path(os.environ.get(VARIABLE) or usual)
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.is_symlink() or folder.stat().st_uid != os.getuid():
        raise EnvironmentFault(f"{folder}: belongs to somebody else; set {VARIABLE} to another.")
    return folder
