"""Progress of a run: a bar with an estimate on a terminal, one line a cell elsewhere."""

from __future__ import annotations

import sys
import time
from typing import Any, Self

import rich.progress
from rich.console import Console


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

    def __call__(self, event: dict[str, Any]) -> None:
        """Show one event."""
        handler = getattr(self, f"_on_{event['event']}", None)
        if handler is not None:
            handler(event)

    def _describe(self, text: str) -> None:
        if self._task is not None:
            self._bar.update(self._task, description=text)

    def _on_plan(self, event: dict[str, Any]) -> None:
        self._total = event["cells"]
        self._task = self._bar.add_task("starting", total=self._total)
        self._finished, self._start = 0, time.monotonic()
        what = event.get("what", "cells")
        self._console.print(f"{event['cells']} {what} to do, {event['done']} done or not to be run")

    def _on_worker(self, event: dict[str, Any]) -> None:
        self._backend = event["backend"]
        # A worker may die before it starts a cell: what it took is that cell's time.
        self._cell_start = time.monotonic()
        self._describe(f"{self._backend}: importing")

    def _on_start(self, event: dict[str, Any]) -> None:
        self._cell = f"{event['network']} × {self._backend}"
        self._cell_start = time.monotonic()
        self._describe(self._cell)

    def _on_epoch(self, event: dict[str, Any]) -> None:
        self._describe(
            f"{self._cell}: epoch {event['epoch']}/{event['epochs']}, "
            f"Dice {event['validation_dice']:.3f}"
        )

    def _on_stage(self, event: dict[str, Any]) -> None:
        self._describe(f"{self._cell}: {event['stage']}")

    def _on_busy(self, event: dict[str, Any]) -> None:
        self._console.print(f"{event['network']}: another process is at it, left to that one")
        self._advance()

    def _on_done(self, event: dict[str, Any]) -> None:
        self._advance()
        cell = f"{event['network']} × {self._backend}"
        self._console.print(f"{cell}: {event['status']}{self._left()}")

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
