"""The watch over one worker process: its events, its limits, its end."""

from __future__ import annotations

import contextlib
import os
import queue
import select
import signal
import subprocess
import threading
import time
from dataclasses import dataclass, field

import psutil

from harness.jobs import events
from harness.jobs.events import Event, Report
from harness.jobs.job import Job
from harness.measuring.profiles import profile
from harness.records.schema import CellKey, Status
from harness.run.log import Log
from harness.run.slots import Slot

POLL_SECONDS = 0.2
# After an interruption the worker may finish its epoch; a second Ctrl-C ends it at once.
GRACE_SECONDS = 120.0
# How often the memory of the worker's children is counted.
COUNT_SECONDS = 2.0
STALLED = "made no progress for {:g} s: no epoch, batch or query was done"
# A cell without a limit of its own may take this share of the memory. Beyond it the kernel ends
# some process, and gives no reason.
MEMORY_SHARE = 0.9


@dataclass
class WorkerView:
    """What the parent knows of one worker."""

    started: list[CellKey] = field(default_factory=list)
    finished: list[CellKey] = field(default_factory=list)
    last_step: float = field(default_factory=time.monotonic)
    last_event: float = field(default_factory=time.monotonic)
    measuring: events.MeasuringStarted | None = None  # the last one, in the current cell
    scoring: events.ScoringStarted | None = None  # the last one, likewise
    ended_by: tuple[Status, str] | None = None
    refused: events.JobRefused | None = None
    stopped: bool = False

    @property
    def current(self) -> CellKey | None:
        """The cell that was started and has not ended."""
        return next((cell for cell in self.started if cell not in self.finished), None)

    def take(self, event: Event) -> None:
        """Note an event of the worker."""
        self.last_event = time.monotonic()
        match event:
            case events.JobRefused():
                self.refused = event
            case events.JobStopped():
                self.stopped = True
            case events.MeasuringStarted():
                self.measuring, self.last_step = event, time.monotonic()
            case events.ScoringStarted():
                self.scoring, self.last_step = event, time.monotonic()
            case events.CellStarted():
                self.measuring = self.scoring = None
                self.last_step = time.monotonic()
                self.started.append(event.cell)
            case events.CellDone() | events.CellBusy():
                self.measuring = self.scoring = None
                self.last_step = time.monotonic()
                self.finished.append(event.cell)
            case _:
                pass


class Watch:
    """Passes a worker's events on while it runs, and ends it if it exceeds a limit."""

    def __init__(
        self,
        job: Job,
        process: subprocess.Popen[bytes],
        pipe: int,
        report: Report,
        slot: Slot,
        log: Log,
    ) -> None:
        self.view = WorkerView()
        self._job, self._process, self._report = job, process, report
        self._slot, self._log = slot, log
        self._counted, self._used_gb = 0.0, 0.0
        self._over = threading.Event()
        self._lines: queue.Queue[str] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(pipe,), daemon=True)
        self._reader.start()

    def _read(self, pipe: int) -> None:
        """Queue the worker's lines until its end of the pipe is closed, or it is over.

        Something that the worker has started may hold the pipe long after it.
        """
        rest, poll = b"", select.poll()
        poll.register(pipe, select.POLLIN)
        try:
            while True:
                if not poll.poll(1000 * POLL_SECONDS):
                    if self._over.is_set():
                        break
                    continue
                if not (chunk := os.read(pipe, 1 << 16)):
                    break
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    self._lines.put(line.decode(errors="replace") + "\n")
        finally:
            os.close(pipe)
        if rest:
            self._lines.put(rest.decode(errors="replace"))

    def run(self) -> None:
        """Return when the worker has ended, by itself or by a limit."""
        limits = self._job.protocol.limits
        share = MEMORY_SHARE / self._slot.count
        memory_gb = limits.memory_gb or share * psutil.virtual_memory().total / 1e9
        while self._process.poll() is None and self.view.ended_by is None:
            if self._slot.stop.is_set():
                # As if Ctrl-C had come to this thread.
                raise KeyboardInterrupt
            with contextlib.suppress(queue.Empty):
                self._take(self._lines.get(timeout=POLL_SECONDS))
            self._log.trim()
            seconds = _seconds_allowed(self._job, self.view)
            if time.monotonic() - self.view.last_step > seconds:
                self.view.ended_by = ("timeout", f"took more than {seconds:g} s")
            elif time.monotonic() - self.view.last_event > limits.stalled_seconds:
                self.view.ended_by = ("timeout", STALLED.format(limits.stalled_seconds))
            elif (used := self._memory_gb()) > memory_gb:
                reason = f"took {used:.1f} GB of memory, the limit is {memory_gb:.1f} GB"
                self.view.ended_by = ("oom", reason)

    def close(self) -> None:
        """End the worker, whatever it is doing, and take what it has said."""
        end(self._process)
        self._over.set()
        self._reader.join()
        self._log.trim()
        while not self._lines.empty():
            self._take(self._lines.get())

    def _memory_gb(self) -> float:
        """Memory of the worker, and of what it has started unless it is measuring.

        Finding children reads the table of all processes, which must not happen five times a second
        beside a measurement.
        """
        try:
            process = psutil.Process(self._process.pid)
            if self.view.measuring is None and time.monotonic() - self._counted > COUNT_SECONDS:
                self._counted = time.monotonic()
                self._used_gb = sum(map(_resident_gb, process.children(recursive=True)))
            return _resident_gb(process) + (0 if self.view.measuring else self._used_gb)
        except psutil.Error:
            return 0.0

    def _take(self, line: str) -> None:
        try:
            event = events.from_line(line)
        except ValueError:
            # A worker killed in the middle of a line: its exit code tells the rest.
            if line.endswith("\n"):
                self.view.ended_by = ("crashed", f"reported what is not an event: {line.strip()}")
            return
        self.view.take(event)
        if not isinstance(event, events.JobRefused | events.JobStopped):
            self._report(event)


def _seconds_allowed(job: Job, view: WorkerView) -> float:
    """The cell's limit; what a profile wants to measure comes on top, twice for the warm-up."""
    allowed = job.protocol.limits.cell_seconds
    if view.measuring is not None:
        chosen = profile(job.protocol.measuring.profile)
        allowed += 2 * chosen.least(view.measuring.condition.batch, job.parts)[1]
    return allowed


def _resident_gb(process: psutil.Process) -> float:
    try:
        return process.memory_info().rss / 1e9
    except psutil.Error:
        return 0.0


def interrupt(process: subprocess.Popen[bytes]) -> None:
    """Ask the worker to stop after its epoch; end it if it takes too long or Ctrl-C comes again."""
    try:
        process.send_signal(signal.SIGINT)
        process.wait(GRACE_SECONDS)
    except (KeyboardInterrupt, subprocess.TimeoutExpired):
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill the worker's whole session: a framework may have started processes of its own.

    Those that have left the session are killed too while the worker can tell of them.
    """
    strays: list[psutil.Process] = []
    with contextlib.suppress(psutil.Error):
        strays = psutil.Process(process.pid).children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    for stray in strays:
        with contextlib.suppress(psutil.Error):
            stray.kill()
    process.wait()
