"""Writing files so that a kill at any moment leaves the old or the new (reliability, point 2)."""

from __future__ import annotations

import contextlib
import io
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from harness.errors import EnvironmentFault
from harness.records import leftovers

if TYPE_CHECKING:
    import pandas as pd


def fsync_folder(folder: Path) -> None:
    """Make renames inside `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn an operating-system error (a full disk above all) into one sentence with the path."""
    try:
        yield
    except OSError as error:
        raise EnvironmentFault(
            f"{path}: cannot be written ({_why(error, path)}); free space or choose another "
            "folder, what stood there is unchanged."
        ) from None


def _why(error: OSError, path: Path) -> str:
    """The reason in words; `mkdir` says of a link that leads nowhere that it exists."""
    for folder in path.parents:
        if folder.is_symlink() and not folder.exists():
            return f"{folder} is a link to what does not exist"
    return error.strerror or str(error)


def write_bytes(path: Path, content: bytes) -> None:
    """Replace `path` by `content`. Raises `EnvironmentFault`, and leaves no temp file then."""
    temporary = path.with_name(f".{path.name}.{leftovers.token()}.tmp")
    with _named(path):
        try:
            write_new(temporary, content, named=path)
            temporary.replace(path)
            fsync_folder(path.parent)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def write_new(path: Path, content: bytes, *, named: Path) -> None:
    """Write a file that is not there, to the disk. Raises `EnvironmentFault`, which names `named`.

    A full disk shows when the buffer is written out, not before.
    """
    with _named(named):
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())


def link(source: Path, target: Path) -> None:
    """A second name for a file that is never changed in place; without links, a copy."""
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        with _named(target):
            shutil.copyfile(source, target)


def write_json(path: Path, value: Any) -> None:
    """Replace `path` by strict JSON: NaN and infinity are errors, never written."""
    text = json.dumps(value, allow_nan=False, indent=1, ensure_ascii=False)
    write_bytes(path, (text + "\n").encode())


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Replace `path` by a Parquet file."""
    buffer = io.BytesIO()
    table.to_parquet(buffer, index=False, compression="zstd")
    write_bytes(path, buffer.getvalue())


def swap_folder(staging: Path, final: Path) -> None:
    """Put the finished folder `staging` in the place of `final`, both on one file system.

    Only one process may do so at a time; readers look under both names, see `old_name`. A kill
    between the two renames leaves the old folder under that name, and the next swap settles it.
    """
    old = old_name(final)
    with _named(final):
        final.parent.mkdir(parents=True, exist_ok=True)
        _settle(final, old)
        fsync_folder(staging)
        if final.exists():
            final.rename(old)
        staging.rename(final)
        fsync_folder(final.parent)
        shutil.rmtree(old, ignore_errors=True)


def old_name(final: Path) -> Path:
    """Where a folder stands while another takes its place."""
    return final.with_name(final.name + ".old")


def settle(final: Path) -> None:
    """Undo or complete a swap that was killed; the caller holds the lock."""
    _settle(final, old_name(final))


def _settle(final: Path, old: Path) -> None:
    """Undo or complete a swap that was killed."""
    if old.exists() and final.exists():
        shutil.rmtree(old, ignore_errors=True)
    elif old.exists():
        old.rename(final)
