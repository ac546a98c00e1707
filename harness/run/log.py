"""The log of a cell's workers: appended to by them, kept small by the parent."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

LARGEST_BYTES = 8 << 20
KEPT_BYTES = 1 << 20
TAIL_BYTES = 64 << 10


class Log:
    """A log file to which a worker is about to append.

    The worker writes with O_APPEND. So the middle can be cut out while it runs; what it writes in
    that moment may be lost.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = path.stat().st_size if path.exists() else 0

    def trim(self) -> None:
        """Keep head and tail if the log has grown beyond `LARGEST_BYTES`."""
        with contextlib.suppress(OSError):
            size = self.path.stat().st_size
            if size <= LARGEST_BYTES:
                return
            with self.path.open("r+b") as file:
                file.seek(size - KEPT_BYTES)
                tail = file.read(KEPT_BYTES)
                cut = size - 2 * KEPT_BYTES
                file.truncate(KEPT_BYTES)
                file.seek(0, os.SEEK_END)
                file.write(f"\n[fetalbench: {cut} bytes left out]\n".encode() + tail)
            self._start = min(self._start, KEPT_BYTES)

    def last_line(self) -> str:
        """The last line that this worker has written, "" if there is none."""
        try:
            size = self.path.stat().st_size
            with self.path.open("rb") as file:
                file.seek(max(self._start, size - TAIL_BYTES))
                text = file.read(TAIL_BYTES).decode(errors="replace")
        except OSError:
            return ""
        lines = [line for line in text.splitlines() if line.strip()]
        return lines[-1] if lines else ""
