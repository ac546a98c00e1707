"""What a killed process leaves behind, told by its name, and swept at the next start.

Temporary names carry a token of their process: another host on the same file system must not take
it for dead.
"""

from __future__ import annotations

import contextlib
import os
import platform
import re
import shutil
import zlib
from pathlib import Path

_HOST = f"{zlib.crc32(platform.node().encode()):08x}"
_TOKEN = re.compile(r"\.([0-9a-f]{8})-([0-9]+)(?:\.|$)")


def token(pid: int | None = None) -> str:
    """What a temporary name says of its process; the host's name cannot be read from it."""
    return f"{_HOST}-{pid or os.getpid()}"


def is_dead(owner: str) -> bool:
    """Whether the process of a token is known to be gone; never for one of another host."""
    host, _, pid = owner.partition("-")
    if host != _HOST or not pid.isdecimal():
        return False
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False


def sweep(folder: Path) -> None:
    """Delete temporary files and folders of dead processes anywhere below `folder`."""
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            found = _TOKEN.search(name)
            if found and is_dead(f"{found[1]}-{found[2]}"):
                remove(Path(place, name))
        folders[:] = [name for name in folders if Path(place, name).is_dir()]


def remove(path: Path) -> None:
    """Delete a file or a folder; what is gone already is no error."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
        return
    with contextlib.suppress(OSError):
        path.unlink()
