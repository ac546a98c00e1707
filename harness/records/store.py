"""The only reader and writer of a results folder.

results/<machine>/<dataset>-<hash8>/<protocol>-<hash8>/gallery.parquet
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
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from harness.errors import EnvironmentFault, NewerRecord, RecordError
from harness.protocol import Protocol, recorded
from harness.records import atomic
from harness.records.schema import SCHEMA_VERSION, CellKey, FileEntry, Record

if TYPE_CHECKING:
    # Only what reads a table pays for the library.
    import pandas as pd

# Every file name of a results folder.
RECORD = "record.json"
GALLERY = "gallery.parquet"
SLICES = "slices.parquet"
PREDICTIONS = "predictions.parquet"
PLAN_SLICES = "plan_slices.parquet"
HISTORY = "history.parquet"
LATENCY = "latency.parquet"
STREAM = "stream.parquet"
WEIGHTS = "weights.safetensors"
WORK = ".work"
CHECKPOINT = "checkpoint.safetensors"
LOCK = "lock"
LOG = "log.txt"

# From version n to n + 1. A record is brought up step by step when it is read; the file stays.
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {
    # Version 2 brought `accuracy`, which is empty if no plan was scored.
    1: lambda record: record | {"schema_version": 2},
}


@dataclass(frozen=True)
class StoredRecord:
    """A record and the folder that holds its raw samples."""

    record: Record
    folder: Path

    def protocol(self) -> Protocol:
        """The protocol that the cell was run under. Raises `RecordError`."""
        return recorded(self.record.protocol, str(self.folder / RECORD))

    def table(self, name: str) -> pd.DataFrame:
        """A Parquet file of the record. Raises `RecordError` if it is absent or altered."""
        path = self.folder / name
        entry = self.record.files.get(name)
        if entry is None:
            raise RecordError(f"{self.folder}: the record has no {name}; run the cell again.")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror}).") from None
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise RecordError(
                f"{path}: is not the file that the record names; if a run is in progress, try "
                "again after it, else run the cell again."
            )
        return _read_parquet(path)

    def slices(self) -> pd.DataFrame:
        """Scores slice by slice."""
        return self.table(SLICES)

    def predictions(self) -> pd.DataFrame:
        """Predicted masks, packed bits on the original grid."""
        return self.table(PREDICTIONS)

    def latency_samples(self) -> pd.DataFrame:
        """Raw latencies in nanoseconds."""
        return self.table(LATENCY)

    def plan_slices(self) -> pd.DataFrame:
        """Scores slice by slice of each execution plan, and the pixels that it changed."""
        return self.table(PLAN_SLICES)

    def history(self) -> pd.DataFrame:
        """Loss and validation Dice epoch by epoch."""
        return self.table(HISTORY)

    def stream_responses(self) -> pd.DataFrame:
        """The response to every slice of the deadline tests."""
        return self.table(STREAM)


def _read_parquet(path: Path) -> pd.DataFrame:
    import pandas as pd

    return pd.read_parquet(path)


def group_folder(root: Path, machine: str, key: CellKey) -> Path:
    """Where the cells of one machine, data set and protocol stand."""
    return (
        root
        / machine
        / f"{key.dataset}-{key.dataset_hash[:8]}"
        / f"{key.protocol}-{key.protocol_hash[:8]}"
    )


def cell_folder(root: Path, machine: str, key: CellKey) -> Path:
    """Where the record of one cell stands."""
    return group_folder(root, machine, key) / key.network / key.backend / f"seed-{key.seed}"


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
    except ValueError as error:
        raise RecordError(f"{path}: is not strict JSON ({error}); run the cell again.") from None
    try:
        return Record.model_validate(_migrated(data, path))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise RecordError(
            f"{path}: is not a record ({where}: {first['msg']}); run the cell again."
        ) from None


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
    """The record of a cell, or None. Changes nothing on disk: another process may be writing."""
    return _find(cell_folder(root, machine, key))


def find_usable(root: Path, machine: str, key: CellKey) -> StoredRecord | None:
    """The record of a cell; a damaged one is as good as none, since a run makes it again.

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


def load_records(root: Path) -> list[StoredRecord]:
    """All records below `root`, ordered by their paths. Raises `RecordError`."""
    if not root.is_dir():
        raise RecordError(f"{root}: no such results folder; `fetalbench run` makes one.")
    # A swap in progress, or one that was killed half-way, has the old record under another name.
    found = {
        folder.with_suffix("") if folder.suffix == ".old" else folder
        for folder in (path.parent for path in root.glob(f"[!.]*/*/*/*/*/*/{RECORD}"))
    }
    return [stored for folder in sorted(found) if (stored := _find(folder))]


def records_of(root: Path, machine: str, network: str, backend: str) -> list[Record]:
    """What one machine has on record of a network in a framework; damaged records are left out."""
    found = []
    for path in sorted(root.glob(f"{machine}/*/*/{network}/{backend}/*/{RECORD}")):
        with contextlib.suppress(RecordError):
            found.append(read_record(path.parent))
    return found


def load_galleries(root: Path) -> dict[tuple[str, str], pd.DataFrame]:
    """Images and reference masks for overlays, by (data set folder, protocol folder)."""
    return {
        (path.parent.parent.name, path.parent.name): _read_parquet(path)
        for path in sorted(root.glob(f"[!.]*/*/*/{GALLERY}"))
    }


def write_gallery(root: Path, machine: str, key: CellKey, make: Callable[[], pd.DataFrame]) -> None:
    """Keep the images that the page shows, once per data set and protocol."""
    path = group_folder(root, machine, key) / GALLERY
    if not path.exists():
        atomic.write_parquet(path, make())


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
    staging = work_folder(root, machine, record.key) / f"record.{os.getpid()}"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        files = _bring_along(keep, staging, {*(tables or ()), *(blobs or ())}) if keep else {}
        for name, table in (tables or {}).items():
            atomic.write_parquet(staging / name, table)
            files[name] = _entry(staging / name)
        for name, content in (blobs or {}).items():
            atomic.write_bytes(staging / name, content)
            files[name] = _entry(staging / name)
        complete = Record.model_validate(
            record.model_dump() | {"files": dict(sorted(files.items()))}
        )
        atomic.write_json(staging / RECORD, complete.model_dump(mode="json"))
        final = cell_folder(root, machine, record.key)
        atomic.swap_folder(staging, final)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return StoredRecord(complete, final)


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

    The lock dies with its process, so a kill leaves nothing to clean up.
    """
    folder = work_folder(root, machine, key)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / LOCK).open("w")
    except OSError as error:
        raise EnvironmentFault(
            f"{root}: the results folder cannot be written ({error.strerror}); choose another with "
            "--results."
        ) from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError as error:
            raise EnvironmentFault(
                f"{root}: its file system grants no locks ({error.strerror}); mount it with flock, "
                "or choose another folder with --results."
            ) from None
        yield True
