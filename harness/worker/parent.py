"""The watch over the parent: a worker that outlives it must not compute for nobody.

While training, a worker whose parent is gone may finish its epoch and save it; it ends at once if
no step has come for `HANG_SECONDS`. At any other time it ends at once, with all that it started.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from types import FrameType
from typing import NoReturn

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5
HANG_SECONDS = 15.0


class ParentWatch:
    """Knows whether the parent lives, and whether this process has something worth saving."""

    def __init__(self) -> None:
        self._parent = os.getppid()
        self._saves = False
        self._last_beat = time.monotonic()

    def start(self) -> None:
        """Begin to watch: by a signal of the kernel, and by looking."""
        signal.signal(signal.SIGTERM, self._ended)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
        threading.Thread(target=self._look, daemon=True, name="parent watch").start()

    def gone(self) -> bool:
        """Whether the parent has died; its orphans are given another."""
        return os.getppid() != self._parent

    def beat(self) -> None:
        """Say that training makes progress."""
        self._last_beat = time.monotonic()

    def saving(self, saves: bool) -> None:
        """Say whether the end of an epoch will save what would be lost."""
        self._saves = saves
        self.beat()

    def _look(self) -> None:
        while not self.gone():
            time.sleep(POLL_SECONDS)
        while self._saves and time.monotonic() - self._last_beat < HANG_SECONDS:
            time.sleep(POLL_SECONDS)
            # Training hears it as a wish to stop; its handler is another then.
            with contextlib.suppress(ProcessLookupError):
                os.kill(os.getpid(), signal.SIGTERM)
        end_session()

    def _ended(self, _number: int, _frame: FrameType | None) -> None:
        end_session()


def end_session() -> NoReturn:
    """End this process and all that it has started in its session."""
    with contextlib.suppress(PermissionError, ProcessLookupError):
        if os.getpgrp() == os.getpid():
            os.killpg(0, signal.SIGKILL)
    os._exit(1)


def limit(seconds: float) -> None:
    """End this process after so long, whatever it does: for when no parent holds the limit.

    A thread of the interpreter's own does so, even while a library holds the interpreter's lock.
    """
    faulthandler.dump_traceback_later(seconds, exit=True)


PARENT = ParentWatch()
