"""Runs jobs on this machine: those that measure never share it.

The parent holds the time and memory limits, and writes the record of a worker that died.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from harness.data.description import read_meta
from harness.jobs import events
from harness.jobs.environment import engine_cache, worker_environment
from harness.jobs.events import Report
from harness.jobs.interpreters import interpreter
from harness.jobs.job import Job
from harness.jobs.recording import make_record
from harness.measuring import entries
from harness.measuring.profiles import profile
from harness.records import atomic, store
from harness.records.leftovers import token
from harness.records.schema import WHILE_MEASURING, CellKey, Status
from harness.records.sentences import plain
from harness.records.store import StoredRecord
from harness.run import slots, watch
from harness.run.log import Log
from harness.run.slots import Slot
from harness.run.watch import Watch, WorkerView

NO_RESULT = "the worker exited without reporting a result"


class Interrupted(Exception):
    """The user pressed Ctrl-C; all state is saved."""


class Faulty(Exception):
    """The worker refused the whole job; carries the sentence and the exit code."""

    def __init__(self, reason: str, exit_code: int) -> None:
        super().__init__(reason)
        self.exit_code = exit_code


def run_jobs(jobs: Sequence[Job], report: Report) -> None:
    """Do all jobs. A cell that fails is a record, not an error.

    Raises `Interrupted` or `Faulty`.
    """
    if len(jobs) > 1 and jobs[0].at_once > 1 and not any(_measures(job) for job in jobs):
        slots.side_by_side(jobs, report, _run_job)
        return
    for job in jobs:
        _run_job(job, report, slots.whole())


def _measures(job: Job) -> bool:
    return bool({"measure", "stream"} & set(job.stages))


def _run_job(job: Job, report: Report, slot: Slot) -> None:
    waiting = list(job.cells)
    while waiting:
        report(events.WorkerStarted(backend=job.backend, cells=len(waiting)))
        view = _run_worker(job.model_copy(update={"cells": tuple(waiting)}), report, slot)
        if view.refused:
            raise Faulty(view.refused.reason, view.refused.exit_code)
        # A worker that dies before its first cell would die for the next one too, but each
        # cell gets its own record: a framework may fail on one network only.
        lost = view.current or (waiting[0] if not view.finished else None)
        if lost is not None:
            status, reason = view.ended_by or ("crashed", NO_RESULT)
            _record_loss(job, lost, view, status, reason)
            report(events.CellDone(cell=lost, status=status))
            view.finished.append(lost)
        waiting = [cell for cell in waiting if cell not in view.finished]


def _run_worker(job: Job, report: Report, slot: Slot) -> WorkerView:
    """Run one worker to its end; what is known of it then says how it ended."""
    folder = store.work_folder(job.results, job.machine, job.cells[0])
    words = folder / f"job.{token()}.json"
    atomic.write_json(words, job.anchored().model_dump(mode="json"))
    log = Log(folder / store.LOG)
    try:
        with (
            slots.held(job, slot, report),
            log.path.open("ab") as output,
            _caches(job, folder) as (xla, inductor),
        ):
            started = _Started(words=words, output=output.fileno(), caches=(xla, inductor))
            returncode, view = _work(job, started, log, report, slot)
    finally:
        words.unlink(missing_ok=True)
    if view.stopped:
        raise Interrupted
    if view.ended_by is None:
        view.ended_by = ("crashed", _death(returncode, log))
    return view


@dataclass(frozen=True, kw_only=True)
class _Started:
    """What a worker is started with: its job's file, its log, the compilers' folders."""

    words: Path
    output: int
    caches: tuple[Path | None, Path]


def _work(
    job: Job, started: _Started, log: Log, report: Report, slot: Slot
) -> tuple[int, WorkerView]:
    """Start the worker, watch it and pass on its events; return its exit code."""
    threads = slot.threads(job)
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [
            interpreter(job.backend),
            "-m",
            "harness.worker",
            str(started.words.absolute()),
            str(write_end),
        ],
        env=worker_environment(
            job.backend, job.device, threads, *started.caches, deterministic=job.deterministic
        )
        | _engines(job),
        stdin=subprocess.DEVNULL,
        stdout=started.output,
        stderr=started.output,
        pass_fds=(write_end,),
        start_new_session=True,
    )
    os.close(write_end)
    watching = Watch(job, process, read_end, report, slot, log)
    try:
        if job.device == "cpu":
            with contextlib.suppress(psutil.NoSuchProcess):
                psutil.Process(process.pid).cpu_affinity(list(slot.cores[:threads]))
        watching.run()
    except KeyboardInterrupt:
        watch.interrupt(process)
        raise Interrupted from None
    finally:
        watching.close()
    return process.returncode, watching.view


@contextlib.contextmanager
def _caches(job: Job, folder: Path) -> Iterator[tuple[Path | None, Path]]:
    """Where compilers keep what they made: for good in a quick look, never in what is published."""
    if not profile(job.protocol.measuring.profile).publishable:
        work = job.results.absolute() / store.WORK
        yield work / "xla", work / "inductor"
        return
    fresh = folder.absolute() / f"inductor.{token()}"
    try:
        yield None, fresh
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _engines(job: Job) -> dict[str, str]:
    """Engines take minutes: the first process of what is published builds them, others do not."""
    publishable = profile(job.protocol.measuring.profile).publishable
    folder = job.results.absolute() / store.WORK / "tensorrt"
    return engine_cache(folder, fresh=publishable and not job.part)


def _death(code: int, log: Log) -> str:
    if code < 0:
        return f"the worker was ended by {_signal(-code)}, see {log.path.name}"
    if code == 0:
        return NO_RESULT
    return f"the worker exited with code {code}: {plain(log.last_line()) or 'no output'}"


def _signal(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # a real-time signal
        return f"signal {number}"


def _record_loss(
    job: Job,
    cell: CellKey,
    view: WorkerView,
    status: Status,
    reason: str,
) -> None:
    """Commit what became of a cell whose worker died; other processes may hold it by now."""
    with store.lock(job.results, job.machine, cell) as held:
        if not held:
            return
        stored = store.find_usable(job.results, job.machine, cell)
        if stored is not None and view.scoring is not None and job.measures(cell):
            # All timings came before it.
            entry = view.scoring.entry.model_copy(update={"status": status, "reason": reason})
            accuracy = entries.with_accuracy(stored.record.accuracy, entry)
            changed = stored.record.model_copy(update={"accuracy": accuracy})
            store.commit(job.results, changed, keep=stored)
        elif stored is not None and view.measuring is not None and job.measures(cell):
            _record_lost_latencies(job, stored, view.measuring, status, reason)
        elif stored is not None and not {"train", "evaluate"} & set(job.stages):
            # Nothing that stands in the record was lost with a process that only measures.
            why = f"{WHILE_MEASURING}{reason}"
            record = stored.record.model_copy(update={"status": status, "reason": why})
            store.commit(job.results, record, keep=stored)
        else:
            meta = read_meta(job.dataset)
            record = make_record(job, cell, meta, status=status, reason=reason)
            store.commit(job.results, record)


def _record_lost_latencies(
    job: Job,
    stored: StoredRecord,
    measuring: events.MeasuringStarted,
    status: Status,
    reason: str,
) -> None:
    latency = entries.lost(
        stored.record.latency,
        measuring.condition,
        default=measuring.default,
        settings=job.protocol.measuring,
        part=job.part,
        status=status,
        reason=reason,
    )
    record = stored.record.model_copy(update={"latency": latency})
    store.commit(job.results, record, keep=stored)
