"""The folder of a report: written, compared with its records, and cleared of earlier reports.

A manifest lists what a report wrote, so that the next one deletes that and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from harness.errors import EnvironmentFault, RecordError
from harness.records import atomic, leftovers

MANIFEST = "files.txt"
HEADER = "# Written by fetalbench, which deletes these files once no record gives them.\n"


def with_manifest(files: Mapping[str, bytes]) -> dict[str, bytes]:
    """The files of a report and the manifest that lists them, itself included, one per line."""
    names = sorted({*files, MANIFEST})
    return {**files, MANIFEST: (HEADER + "".join(f"{name}\n" for name in names)).encode()}


def write(files: Mapping[str, bytes], out: Path) -> None:
    """Write the files below `out`, and delete those of an earlier report that are not among them.

    All or nothing: on a full disk the earlier report stands. Files that no report wrote stay as
    they are. Raises `EnvironmentFault` if the folder cannot be written and `RecordError` if a file
    would land outside `out`.
    """
    for name in files:
        _check_inside(name, out)
    try:
        old = _listed(out)
        _replace(files, out)
        _remove(old - files.keys(), out)
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or out}: cannot be written ({error.strerror}); choose another folder "
            "with --out."
        ) from None


def _replace(files: Mapping[str, bytes], out: Path) -> None:
    """Write all files beside their places, then put them there: the old report stands till then.

    Raises `EnvironmentFault` and leaves nothing if one cannot be written (a full disk).
    """
    leftovers.sweep(out)
    beside: dict[Path, Path] = {}
    try:
        for name, content in files.items():
            path = out / name
            temporary = path.with_name(f".{path.name}.{leftovers.token()}.tmp")
            beside[temporary] = path
            atomic.write_new(temporary, content, named=path)
        for temporary, path in beside.items():
            temporary.replace(path)
    finally:
        for temporary in beside:
            temporary.unlink(missing_ok=True)


def differences(files: Mapping[str, bytes], out: Path) -> list[str]:
    """Files below `out` that are missing, differ from `files`, or are left from an earlier report.

    Files that no report wrote do not count. Raises `RecordError` if there is no such folder.
    """
    if not out.is_dir():
        raise RecordError(f"{out}: no such folder; write it with `fetalbench report`.")
    changed = [
        name
        for name, content in files.items()
        if not (out / name).is_file() or (out / name).read_bytes() != content
    ]
    left = {name for name in _listed(out) - files.keys() if (out / name).is_file()}
    return changed + sorted(left)


def _check_inside(name: str, out: Path) -> None:
    """Refuse a file that would not lie below `out` once links are followed."""
    if not (out / name).resolve().is_relative_to(out.resolve()):
        raise RecordError(
            f"{name}: would be written outside {out}; nothing was written. Look for a link in the "
            "folder, or choose another with --out."
        )


def _listed(out: Path) -> set[str]:
    """Files below `out` that an earlier report wrote; empty without a manifest.

    A line that leads out of the folder does not name a file of a report and is ignored.
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


def _remove(names: Iterable[str], out: Path) -> None:
    """Delete the files, and the folders below `out` that this leaves empty."""
    for name in sorted(names):
        path = out / name
        path.unlink(missing_ok=True)
        for folder in path.parents:
            if folder == out or not folder.is_dir() or any(folder.iterdir()):
                break
            folder.rmdir()
