"""Progress of a run: a bar with an estimate on a terminal, one line per cell elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Self, assert_never

import rich.progress
from rich.console import Console

from harness.jobs import events
from harness.jobs.events import Event


class Progress:
    """Takes the events of a run; `report(event)` is a call of the object itself."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._live = sys.stderr.isatty()
        self._bar = rich.progress.Progress(
            rich.progress.TextColumn("{task.description:<44}"),
            rich.progress.BarColumn(),
            rich.progress.MofNCompleteColumn(),
            rich.progress.TimeElapsedColumn(),
            rich.progress.TextColumn("about"),
            rich.progress.TimeRemainingColumn(),
            console=self._console,
            disable=not self._live,
        )
        self._task: rich.progress.TaskID | None = None
        self._backend = ""
        self._cell = ""
        self._start = self._cell_start = time.monotonic()
        self._total = self._finished = 0

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, event: Event) -> None:
        """Show one event."""
        match event:
            case events.GridReady():
                self._begin(event)
            case events.WorkerStarted():
                self._backend = event.backend
                # A worker may die before it starts a cell: what it took is that cell's time.
                self._cell_start = time.monotonic()
                self._describe(f"{event.backend}: importing")
            case events.CellStarted():
                self._backend = event.cell.backend
                self._cell = f"{event.cell.network} × {self._backend}"
                self._cell_start = time.monotonic()
                self._describe(self._cell)
            case events.StageStarted():
                self._describe(f"{self._cell}: {event.stage}")
            case events.TrainingRestarted():
                self._console.print(f"{self._cell}: {event.reason}")
            case events.EpochDone():
                place = f"epoch {event.epoch}/{event.epochs}"
                self._describe(f"{self._cell}: {place}, Dice {event.validation_dice:.3f}")
            case events.MeasuringStarted():
                what = f"{event.condition.plan}, {event.condition.quantity}"
                self._describe(f"{self._cell}: {what}, batch {event.condition.batch}")
            case events.ScoringStarted():
                self._describe(f"{self._cell}: accuracy of {event.entry.plan}")
            case events.CellBusy():
                self._console.print(f"{event.cell.network}: left to another process, which runs it")
                self._advance()
            case events.DeviceBusy():
                cell = f"{event.cell.network} × {event.cell.backend}"
                self._console.print(f"{cell}: waits for a measurement on the same device")
            case events.CellDone():
                self._advance()
                cell = f"{event.cell.network} × {event.cell.backend}"
                self._console.print(f"{cell}: {event.status}{self._left()}")
            case events.StillAtWork():
                pass  # for the watch
            case events.JobRefused() | events.JobStopped():
                pass  # the command says it once the bar is gone
            case _:
                assert_never(event)

    def warn(self, sentence: str) -> None:
        """A sentence above the bar."""
        self._console.print(f"fetalbench: {sentence}", markup=False)

    def _begin(self, event: events.GridReady) -> None:
        self._total = event.todo
        self._task = self._bar.add_task("starting", total=self._total)
        self._finished, self._start = 0, time.monotonic()
        done = f"{event.done} done or not to be run"
        self._console.print(f"{event.todo} {event.what} to do, {done}")

    def _describe(self, text: str) -> None:
        if self._task is not None:
            self._bar.update(self._task, description=text)

    def _advance(self) -> None:
        self._finished += 1
        if self._task is not None:
            self._bar.advance(self._task)

    def _left(self) -> str:
        """On a terminal the bar tells; in a log the line does."""
        taken = time.monotonic() - self._start
        left = taken / self._finished * (self._total - self._finished)
        if self._live:
            return f" ({time.monotonic() - self._cell_start:.0f} s)"
        return f" ({self._finished}/{self._total}, {taken:.0f} s, about {left:.0f} s left)"
