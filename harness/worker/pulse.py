"""A sign of life between two events: a batch or a query is done."""

from __future__ import annotations

import contextlib
import time

from harness.jobs import events
from harness.jobs.events import Report
from harness.worker.parent import PARENT
from harness.worker.state import Stopped

# Far below any limit on silence, and far too seldom to disturb what is timed.
EVERY_SECONDS = 5.0


class Pulse:
    """Called after every batch or query; tells the parent at most every few seconds.

    That the parent is gone is left for the next event to find out, which comes at a better moment:
    the end of an epoch.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = time.monotonic()

    def __call__(self) -> None:
        """Say that something was done."""
        PARENT.beat()
        now = time.monotonic()
        if now - self._last >= EVERY_SECONDS:
            self._last = now
            with contextlib.suppress(Stopped):
                self._report(events.StillAtWork())
