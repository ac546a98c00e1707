"""The only reader and writer of a results folder.

results/<machine>/<dataset>-<hash8>/<protocol>-<hash8>/gallery.parquet, gallery.sha256
                                    .../<network>/<backend>/seed-<n>/record.json, *.parquet
results/.work/...     locks, logs, checkpoints and half-written records, never published
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.errors import EnvironmentFault, NewerRecord, RecordError
from harness.records import atomic, leftovers, soundness
from harness.records.schema import SCHEMA_VERSION, CellKey, FileEntry, Record
from harness.records.sentences import plain, printable
from harness.records.stored import (
    GALLERY,
    GALLERY_DIGEST,
    HISTORY,
    LATENCY,
    PLAN_SLICES,
    PREDICTIONS,
    RECORD,
    SLICES,
    STREAM,
    WEIGHTS,
    StoredRecord,
    read_parquet,
)

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "GALLERY",
    "GALLERY_DIGEST",
    "HISTORY",
    "LATENCY",
    "PLAN_SLICES",
    "PREDICTIONS",
    "RECORD",
    "SLICES",
    "STREAM",
    "WEIGHTS",
    "StoredRecord",
]
# Names below the work folder.
WORK = ".work"
CHECKPOINT = "checkpoint.safetensors"
LOCK = "lock"
LOG = "log.txt"
# How long the holder of a lock may take to end whose parent is dead.
DYING_SECONDS = 150.0

# From version n to n + 1. A record is brought up step by step when it is read; the file stays.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # Version 2 brought `accuracy`, empty if no plan was scored, and the digest, which only
    # `fetalbench migrate` can give an older record.
    1: lambda record: record | {"schema_version": 2},
}


def group_folder(root: Path, machine: str, key: CellKey) -> Path:
    """Where the cells of one machine, data set and protocol stand."""
    return cell_folder(root, machine, key).parents[2]


def cell_folder(root: Path, machine: str, key: CellKey) -> Path:
    """Where the record of one cell stands."""
    return root / soundness.place_of(machine, key)


def work_folder(root: Path, machine: str, key: CellKey) -> Path:
    """Where the cell keeps its lock, log and checkpoint."""
    return root / WORK / cell_folder(root, machine, key).relative_to(root)


def read_record(folder: Path) -> Record:
    """Read one record. Raises `RecordError` if it is absent, damaged, or of a newer schema."""
    record = _read(folder)
    if record is None:
        raise RecordError(f"{folder}: holds no {RECORD}.")
    return record


def _read(folder: Path) -> Record | None:
    path = folder / RECORD
    try:
        data = json.loads(path.read_bytes(), parse_constant=_refuse_constant)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}).") from None
    except RecursionError:
        raise RecordError(f"{path}: is nested too deeply; run the cell again.") from None
    except ValueError as error:
        raise RecordError(f"{path}: is not strict JSON ({error}); run the cell again.") from None
    content = _migrated(data, path)
    soundness.check_digest(data, path)
    try:
        record = Record.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(
            f"{path}: is not a record ({where}: {first['msg']}); run the cell again."
        ) from None
    soundness.check_contradictions(record, path)
    return record


def _refuse_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


def _migrated(data: Any, path: Path) -> Any:
    version = data.get("schema_version") if isinstance(data, dict) else None
    if not isinstance(version, int):
        raise RecordError(f"{path}: has no schema_version; it is not a record of fetalbench.")
    if version > SCHEMA_VERSION:
        raise NewerRecord(
            f"{path}: has schema version {version}, this fetalbench reads up to {SCHEMA_VERSION}: "
            "upgrade fetalbench."
        )
    while version < SCHEMA_VERSION:
        if version not in MIGRATIONS:
            raise RecordError(f"{path}: there is no schema version {version}; run the cell again.")
        data = MIGRATIONS[version](data)
        version += 1
    return data


def find_record(root: Path, machine: str, key: CellKey) -> StoredRecord | None:
    """The record of a cell, or None. Changes nothing on disk: another process may be writing.

    Raises `RecordError` if it is not sound: altered, another cell's, or one of its files is not
    the one that it names. Summaries are computed again only if it has no digest (schema 1).
    """
    stored = _sound(cell_folder(root, machine, key), deep=False)
    if stored is not None and stored.record.key != key:
        raise RecordError(
            f"{stored.folder}: is of another data set or protocol whose hash begins alike; "
            "choose another folder with --results."
        )
    return stored


def find_at(folder: Path) -> StoredRecord:
    """The record in a folder, checked in full. Raises `RecordError`, also if there is none."""
    stored = _sound(folder.absolute(), deep=True)
    if stored is None:
        raise RecordError(f"{folder}: holds no {RECORD}.")
    return stored


def find_usable(root: Path, machine: str, key: CellKey) -> StoredRecord | None:
    """The record of a cell; one that is not sound is as good as none: a run makes it again.

    Raises `NewerRecord`.
    """
    try:
        return find_record(root, machine, key)
    except NewerRecord:
        raise
    except RecordError:
        return None


def _find(final: Path) -> StoredRecord | None:
    # A swap moves the old record aside before the new one comes: it is under one name or the
    # other, and after a look at both the new one is there.
    for folder in (final, atomic.old_name(final), final):
        record = _read(folder)
        if record is not None:
            return StoredRecord(record, folder)
    return None


def _sound(final: Path, *, deep: bool) -> StoredRecord | None:
    """The record that stands in a folder, checked. Raises `RecordError`.

    What fails while another process puts a new record in its place is looked at again.
    """
    stored = _find(final)
    while stored is not None:
        try:
            _check(stored, deep=deep)
        except RecordError:
            again = _find(final)
            if again == stored:
                raise
            stored = again
        else:
            break
    return stored


def _check(stored: StoredRecord, *, deep: bool) -> None:
    """Raise `RecordError` if the record is another cell's, or its files belie it.

    Summaries are computed again if that is asked for, or if no digest protects them.
    """
    soundness.check_place(stored.record, stored.folder)
    soundness.check_files(stored)
    if deep or stored.record.digest is None:
        from harness.records.summaries import check_summaries

        check_summaries(stored)


@dataclass(frozen=True, kw_only=True)
class Survey:
    """What a results folder holds: sound records, and a sentence for each that is left out."""

    records: tuple[StoredRecord, ...]
    left_out: tuple[str, ...]


def survey(root: Path) -> Survey:
    """All records below `root`, ordered by their paths; each is checked in full.

    Raises `RecordError` if there is no such folder.
    """
    if not root.is_dir():
        raise RecordError(f"{root}: no such results folder; `fetalbench run` makes one.")
    # A swap in progress, or one that was killed half-way, has the old record under another name.
    folders = {
        folder.with_suffix("") if folder.suffix == ".old" else folder
        for folder in (path.parent for path in root.glob(f"[!.]*/*/*/*/*/*/{RECORD}"))
    }
    sound: list[StoredRecord] = []
    left_out: dict[Path, str] = {}
    for folder in sorted(folders):
        try:
            if stored := _sound(folder, deep=True):
                sound.append(stored)
        except RecordError as error:
            left_out[folder] = str(error)
    copies = soundness.copies(sound)
    for copy, original in copies.items():
        left_out[copy] = f"{copy}: is a copy of {original}; delete it, or run the cell again."
    records = tuple(stored for stored in sound if stored.folder not in copies)
    for group in {stored.folder.parents[2] for stored in records if stored.record.scores}:
        try:
            require_gallery(group / GALLERY)
        except RecordError as error:
            left_out[group] = str(error)
    return Survey(records=records, left_out=tuple(left_out[place] for place in sorted(left_out)))


def load_records(root: Path) -> list[StoredRecord]:
    """All records below `root`. Raises `RecordError` for the first that is not sound."""
    found = survey(root)
    if found.left_out:
        raise RecordError(found.left_out[0])
    return list(found.records)


def records_of(root: Path, machine: str, network: str, backend: str) -> list[Record]:
    """What one machine has on record of a network in a framework; damaged records are left out."""
    found = []
    for path in sorted(root.glob(f"{machine}/*/*/{network}/{backend}/*/{RECORD}")):
        with contextlib.suppress(RecordError):
            found.append(read_record(path.parent))
    return found


def load_galleries(root: Path) -> dict[tuple[str, str], pd.DataFrame]:
    """Images and reference masks for overlays, by (data set folder, protocol folder).

    A damaged one is not among them: `survey` names it.
    """
    found = {}
    for path in sorted(root.glob(f"[!.]*/*/*/{GALLERY}")):
        with contextlib.suppress(RecordError):
            require_gallery(path)
            table = read_parquet(path.read_bytes(), path).to_pandas()
            found[path.parent.parent.name, path.parent.name] = table
    return found


def require_gallery(path: Path) -> None:
    """Raise `RecordError` unless the gallery is there as it was written.

    One from before schema 2 has no digest beside it: it must be whole Parquet.
    """
    remedy = "the next `fetalbench run` makes it again."
    try:
        content = path.read_bytes()
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    beside = path.with_name(GALLERY_DIGEST)
    if beside.is_file():
        same = beside.read_text(errors="replace").strip() == hashlib.sha256(content).hexdigest()
    else:
        same = len(content) > 8 and content[:4] == content[-4:] == b"PAR1"
    if not same:
        raise RecordError(f"{path}: is not the file that was written; {remedy}")


def gallery_fault(root: Path, machine: str, key: CellKey) -> str | None:
    """Why the images that the page shows must be made again, or None."""
    try:
        require_gallery(group_folder(root, machine, key) / GALLERY)
    except RecordError as error:
        return str(error)
    return None


def write_gallery(root: Path, machine: str, key: CellKey, make: Callable[[], pd.DataFrame]) -> None:
    """Keep the images that the page shows, once per data set and protocol."""
    if gallery_fault(root, machine, key) is None:
        return
    path = group_folder(root, machine, key) / GALLERY
    # The digest goes first: a kill in between leaves a gallery that is made again.
    path.with_name(GALLERY_DIGEST).unlink(missing_ok=True)
    atomic.write_parquet(path, make())
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    atomic.write_bytes(path.with_name(GALLERY_DIGEST), f"{digest}\n".encode())


def commit(
    root: Path,
    record: Record,
    tables: Mapping[str, pd.DataFrame] | None = None,
    blobs: Mapping[str, bytes] | None = None,
    keep: StoredRecord | None = None,
) -> StoredRecord:
    """Write a record with its files in one swap: the old one stands until the new is complete.

    `tables` and `blobs` are by file name; files of the record `keep` that are in neither come
    along as they are. The caller holds the cell's lock. Raises `EnvironmentFault` (disk full).
    """
    machine = record.provenance.machine.name
    staging = work_folder(root, machine, record.key) / f"record.{leftovers.token()}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        files = _bring_along(keep, staging, {*(tables or ()), *(blobs or ())}) if keep else {}
        for name, table in (tables or {}).items():
            atomic.write_parquet(staging / name, table)
            files[name] = _entry(staging / name)
        for name, content in (blobs or {}).items():
            atomic.write_bytes(staging / name, content)
            files[name] = _entry(staging / name)
        complete = _signed(
            _tidy(record).model_dump(mode="json")
            | {"schema_version": SCHEMA_VERSION, "files": dict(sorted(files.items()))}
        )
        atomic.write_json(staging / RECORD, complete.model_dump(mode="json"))
        final = cell_folder(root, machine, record.key)
        atomic.swap_folder(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return StoredRecord(complete, final)


def _tidy(record: Record) -> Record:
    """The record with sentences that a page can hold, whatever a library has written into them."""
    latency = [
        entry.model_copy(update={"reason": plain(entry.reason)}) if entry.reason else entry
        for entry in record.latency
    ]
    update: dict[str, Any] = {"latency": latency, "notes": [plain(note) for note in record.notes]}
    for name in ("reason", "cost_reason"):
        text = getattr(record, name)
        update[name] = plain(text) if text else text
    update |= {name: printable(getattr(record, name)) for name in ("title", "command")}
    return record.model_copy(update=update)


def _signed(content: dict[str, Any]) -> Record:
    """The record with its digest."""
    written = Record.model_validate(content).model_dump(mode="json")
    return Record.model_validate(written | {"digest": soundness.digest_of(written)})


def _bring_along(keep: StoredRecord, staging: Path, replaced: set[str]) -> dict[str, FileEntry]:
    """Link the files that stay: weights are large, and a record gains samples many times.

    A file that is not here (weights are not published) stays named in the record.
    """
    kept = {name: entry for name, entry in keep.record.files.items() if name not in replaced}
    staging.mkdir(parents=True, exist_ok=True)
    for name in kept:
        with contextlib.suppress(FileNotFoundError):
            atomic.link(keep.folder / name, staging / name)
    return kept


def _entry(path: Path) -> FileEntry:
    content = path.read_bytes()
    return FileEntry(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


@contextlib.contextmanager
def lock(root: Path, machine: str, key: CellKey) -> Iterator[bool]:
    """Hold a cell against other processes; yields False if another one holds it.

    The lock dies with its process, so a kill leaves nothing to clean up. A holder whose parent is
    dead is about to end: it is waited for.
    """
    with _lock(root, work_folder(root, machine, key), DYING_SECONDS) as held:
        if held:
            atomic.settle(cell_folder(root, machine, key))
        yield held


@contextlib.contextmanager
def _lock(root: Path, folder: Path, patience: float) -> Iterator[bool]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("a+")
    except OSError as error:
        raise EnvironmentFault(
            f"{root}: the results folder cannot be written ({error.strerror}); choose another with "
            "--results."
        ) from None
    with file:
        end = time.monotonic() + patience
        while not _taken(file):
            file.seek(0)
            if time.monotonic() > end or not leftovers.is_dead(file.read().strip()):
                yield False
                return
            time.sleep(0.2)
        # Who started this process; its death is ours.
        file.truncate(0)
        file.write(leftovers.token(os.getppid()))
        file.flush()
        yield True


@contextlib.contextmanager
def work_lock(root: Path, work: Path) -> Iterator[bool]:
    """`lock` by the work folder of a cell, without waiting."""
    with _lock(root, work, 0) as held:
        yield held


def _taken(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        raise EnvironmentFault(
            f"{file.name}: its file system grants no locks ({error.strerror}); mount it with "
            "flock, or choose another folder with --results."
        ) from None
    return True


def sweep(root: Path) -> None:
    """Remove what killed processes have left in a results folder, and settle their swaps."""
    if not root.is_dir():
        return
    leftovers.sweep(root)
    for old in root.glob("[!.]*/*/*/*/*/*.old"):
        final = old.with_suffix("")
        with work_lock(root, root / WORK / final.relative_to(root)) as held:
            if held:
                atomic.settle(final)
