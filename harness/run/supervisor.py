"""Runs jobs on this machine, one worker process at a time: timings never share the machine.

The parent holds the time and memory limits, and writes the record of a worker that died.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import psutil

from harness import cores
from harness.data.catalogue import open_dataset
from harness.errors import EXIT_INTERRUPTED
from harness.jobs.environment import worker_environment, worker_threads
from harness.jobs.interpreters import interpreter
from harness.jobs.job import Job
from harness.jobs.recording import make_record
from harness.measuring import entries as cell_latency
from harness.measuring.profiles import profile
from harness.records import atomic
from harness.records import store as records
from harness.records.schema import CellKey, Status

Report = Callable[[dict[str, Any]], None]
POLL_SECONDS = 0.2
# After an interruption the worker may finish its epoch; a second Ctrl-C ends it at once.
GRACE_SECONDS = 120.0
# Without a limit of its own a cell may take this share of the memory, before the kernel, which
# gives no reason, ends some process.
MEMORY_SHARE = 0.9


class Interrupted(Exception):
    """The user pressed Ctrl-C; all state is saved."""


class Faulty(Exception):
    """The worker refused the whole job; carries the sentence and the exit code."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


@dataclass
class Watch:
    """What the parent knows of one worker."""

    started: list[CellKey] = field(default_factory=list)
    finished: list[CellKey] = field(default_factory=list)
    last_step: float = field(default_factory=time.monotonic)
    measuring: dict[str, Any] | None = None  # the last measurement that was begun
    ended_by: tuple[Status, str] | None = None
    fault: tuple[str, int] | None = None

    @property
    def current(self) -> CellKey | None:
        """The cell that was started and has not ended."""
        return next((cell for cell in self.started if cell not in self.finished), None)

    def take(self, event: dict[str, Any], cells: Sequence[CellKey]) -> None:
        """Note an event of the worker."""
        kind = event["event"]
        if kind == "fault":
            self.fault = (event["reason"], event["exit_code"])
        elif kind == "measuring":
            self.measuring, self.last_step = event, time.monotonic()
        elif kind in ("start", "done", "busy"):
            self.measuring, self.last_step = None, time.monotonic()
            found = [c for c in cells if (c.network, c.seed) == (event["network"], event["seed"])]
            (self.started if kind == "start" else self.finished).extend(found)


def run_jobs(jobs: Sequence[Job], report: Report) -> None:
    """Do all jobs. Raises `Interrupted` or `Faulty`; a cell that fails is a record and no error."""
    for job in jobs:
        waiting = list(job.cells)
        while waiting:
            report({"event": "worker", "backend": job.backend, "cells": len(waiting)})
            watch = _run_worker(job.model_copy(update={"cells": tuple(waiting)}), report)
            if watch.fault:
                raise Faulty(*watch.fault)
            # A worker that dies before its first cell would die for the next one too, but each
            # cell gets its own record: a framework may fail on one network only.
            lost = watch.current or (waiting[0] if not watch.finished else None)
            if lost is not None:
                status, reason = watch.ended_by or ("crashed", "the worker ended without a word")
                _record_loss(job, lost, watch, status, reason)
                report({"event": "done", "network": lost.network, "status": status})
                watch.finished.append(lost)
            waiting = [cell for cell in waiting if cell not in watch.finished]


def _run_worker(job: Job, report: Report) -> Watch:
    folder = records.work_folder(job.results, job.machine, job.cells[0])
    words = folder / f"job.{os.getpid()}.json"
    atomic.write_json(words, job.model_dump(mode="json"))
    watch = Watch()
    try:
        returncode = _work(job, words, folder / "log.txt", watch, report)
    finally:
        words.unlink(missing_ok=True)
    if returncode == EXIT_INTERRUPTED:
        raise Interrupted
    if watch.ended_by is None:
        watch.ended_by = ("crashed", _death(returncode, folder / "log.txt"))
    return watch


def _work(job: Job, words: Path, log: Path, watch: Watch, report: Report) -> int:
    """Run the worker to its end, passing on its events; return its exit code."""
    threads = worker_threads(job.threads)
    read_end, write_end = os.pipe()
    with log.open("ab") as output, _caches(job, log.parent) as (xla, inductor):
        process = subprocess.Popen(
            [interpreter(job.backend), "-m", "harness.worker", str(words), str(write_end)],
            env=worker_environment(job.backend, job.device, threads, xla, inductor),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=(write_end,),
            start_new_session=True,
        )
        events: queue.Queue[dict[str, Any]] = queue.Queue()
        reader = threading.Thread(target=_read_events, args=(os.fdopen(read_end), events))
        try:
            os.close(write_end)
            reader.start()
            if job.device == "cpu":
                with contextlib.suppress(psutil.NoSuchProcess):
                    psutil.Process(process.pid).cpu_affinity(cores.usable()[:threads])
            _watch(process, job, events, watch, report)
        except KeyboardInterrupt:
            _interrupt(process)
            raise Interrupted from None
        finally:
            _kill(process)
            if reader.ident is not None:
                reader.join()
    while not events.empty():
        _take(events.get(), job, watch, report)
    return process.returncode


@contextlib.contextmanager
def _caches(job: Job, folder: Path) -> Iterator[tuple[Path | None, Path]]:
    """Where compilers keep what they made: for good in a quick look, never in what is published."""
    if not profile(job.protocol.measuring.profile).publishable:
        work = job.results.absolute() / records.WORK
        yield work / "xla", work / "inductor"
        return
    fresh = folder.absolute() / f"inductor.{os.getpid()}"
    try:
        yield None, fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _read_events(pipe: IO[str], events: queue.Queue[dict[str, Any]]) -> None:
    with pipe:
        for line in pipe:
            try:
                events.put(json.loads(line))
            except ValueError:
                # A worker killed in the middle of a line: its exit code tells the rest.
                return


def _take(event: dict[str, Any], job: Job, watch: Watch, report: Report) -> None:
    watch.take(event, job.cells)
    if event["event"] != "fault":
        report(event)


def _watch(
    process: subprocess.Popen[bytes],
    job: Job,
    events: queue.Queue[dict[str, Any]],
    watch: Watch,
    report: Report,
) -> None:
    """Pass on events until the worker ends or passes a limit."""
    limits = job.protocol.limits
    memory_gb = limits.memory_gb or MEMORY_SHARE * psutil.virtual_memory().total / 1e9
    while process.poll() is None:
        with contextlib.suppress(queue.Empty):
            _take(events.get(timeout=POLL_SECONDS), job, watch, report)
        seconds = _seconds_allowed(job, watch)
        if time.monotonic() - watch.last_step > seconds:
            watch.ended_by = ("timeout", f"took more than {seconds:g} s")
        elif (used := _memory_gb(process.pid)) > memory_gb:
            watch.ended_by = (
                "oom",
                f"took {used:.1f} GB of memory, the limit is {memory_gb:.1f} GB",
            )
        if watch.ended_by:
            _kill(process)
            return


def _seconds_allowed(job: Job, watch: Watch) -> float:
    """The cell's limit; what a profile wants to measure comes on top, twice for the warm-up."""
    allowed = job.protocol.limits.cell_seconds
    if watch.measuring is not None:
        chosen = profile(job.protocol.measuring.profile)
        allowed += 2 * chosen.least(watch.measuring["batch"], job.parts)[1]
    return allowed


def _memory_gb(pid: int) -> float:
    # Without its children: finding them reads the table of all processes, five times a second
    # beside a measurement.
    try:
        return psutil.Process(pid).memory_info().rss / 1e9
    except psutil.Error:
        return 0.0


def _interrupt(process: subprocess.Popen[bytes]) -> None:
    try:
        process.send_signal(signal.SIGINT)
        process.wait(GRACE_SECONDS)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        _kill(process)


def _kill(process: subprocess.Popen[bytes]) -> None:
    # The whole session: a framework may have started processes of its own.
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _death(code: int, log: Path) -> str:
    if code < 0:
        return f"the worker was ended by {signal.Signals(-code).name}, see {log.name}"
    tail = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if code == 0:
        return "the worker ended without a record"
    return f"the worker ended with exit code {code}: {tail[-1] if tail else 'no output'}"


def _record_loss(job: Job, cell: CellKey, watch: Watch, status: Status, reason: str) -> None:
    with records.lock(job.results, job.machine, cell) as held:
        if not held:
            return
        if job.measures(cell) and watch.measuring is not None:
            cell_latency.lose(job, cell, watch.measuring, status, reason)
            return
        stored = records.find_usable(job.results, job.machine, cell)
        if stored is not None and not {"train", "evaluate"} & set(job.stages):
            # Nothing that stands in the record was lost with a process that only measures.
            record = stored.record.model_copy(update={"status": status, "reason": reason})
            records.commit(job.results, record, keep=stored)
            return
        record = make_record(
            job, cell, open_dataset(job.dataset), status=status, reason=reason, versions={}
        )
        records.commit(job.results, record)
