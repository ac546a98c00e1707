"""What a report wrote into a folder, so that the next one deletes that and nothing else."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path, PurePosixPath

MANIFEST = "files.txt"
HEADER = "# Written by fetalbench, which deletes these files once no record gives them.\n"


def listing(names: Iterable[str]) -> bytes:
    """The manifest of a report: its own name and those of the other files, one a line."""
    return (HEADER + "".join(f"{name}\n" for name in sorted({*names, MANIFEST}))).encode()


def read(out: Path) -> set[str]:
    """Files that an earlier report wrote below `out`; empty where no manifest says so.

    A line that leads out of the folder is no file of a report and is left out.
    """
    try:
        text = (out / MANIFEST).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError, UnicodeDecodeError):
        return set()
    if not text.startswith(HEADER):
        return set()
    names = text.removeprefix(HEADER).splitlines()
    return {name for name in names if _is_below(name, out)}


def _is_below(name: str, out: Path) -> bool:
    path = PurePosixPath(name)
    if not name or path.is_absolute() or ".." in path.parts:
        return False
    return (out / name).resolve().is_relative_to(out.resolve())


def remove(names: Iterable[str], out: Path) -> None:
    """Delete the files, and the folders below `out` that this leaves empty."""
    for name in sorted(names):
        path = out / name
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == out or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
