"""Whether a record is what it says: its digest, its place, its contradictions, its files.

A record is checked and not believed. The store writes a digest over every record and each reader
checks it. Records of schema 1 have none; their summaries are computed again instead.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import RecordError
from harness.records.schema import WHILE_MEASURING, CellKey, Record
from harness.records.stored import NOT_THE_FILE, WEIGHTS, StoredRecord

AGAIN = "run the cell again"


def digest_of(content: Mapping[str, Any]) -> str:
    """sha256 over a record as it stands in its file, without its digest: canonical JSON."""
    bare = {name: value for name, value in content.items() if name != "digest"}
    text = json.dumps(
        bare, allow_nan=False, sort_keys=True, separators=(",", ":"), ensure_ascii=True
    )
    return hashlib.sha256(text.encode()).hexdigest()


def check_digest(content: Mapping[str, Any], path: Path) -> None:
    """Raise `RecordError` if the file was changed after the store wrote it."""
    if content.get("schema_version") == 1 and "digest" not in content:
        return
    if content.get("digest") != digest_of(content):
        raise RecordError(
            f"{path}: was changed after it was written (its digest is another's); {AGAIN}."
        )


def place_of(machine: str, key: CellKey) -> Path:
    """Where a cell's folder stands below the results folder."""
    data, protocol = (
        f"{name}-{digest[:8]}"
        for name, digest in ((key.dataset, key.dataset_hash), (key.protocol, key.protocol_hash))
    )
    return Path(machine, data, protocol, key.network, key.backend, f"seed-{key.seed}")


def check_place(record: Record, folder: Path) -> None:
    """Raise `RecordError` if the record's key is not that of the folder: it was copied there."""
    own = place_of(record.provenance.machine.name, record.key)
    here = (*folder.parts[-len(own.parts) : -1], folder.name.removesuffix(".old"))
    if own.parts != here:
        raise RecordError(
            f"{folder}: holds the record of another cell ({own.as_posix()}); delete the copy or "
            f"{AGAIN}."
        )


def check_contradictions(record: Record, path: Path) -> None:
    """Raise `RecordError` for a status that what stands beside it belies."""
    sound_scores = record.status == "ok" or (record.reason or "").startswith(WHILE_MEASURING)
    if record.scores and not sound_scores:
        raise RecordError(
            f"{path}: has the status {record.status} and scores, one of which is wrong; {AGAIN}."
        )
    if record.status == "ok" and record.reason:
        raise RecordError(f"{path}: has the status ok and a reason why it is not; {AGAIN}.")


def check_files(stored: StoredRecord) -> None:
    """Raise `RecordError` at the first file beside the record that is not the one it names.

    Weights are large and not always published: absent ones are no fault, and their content is
    compared with the record when they are loaded.
    """
    for name, entry in stored.record.files.items():
        path = stored.folder / name
        try:
            size = path.stat().st_size
            same = size == entry.bytes and (name == WEIGHTS or _sha256(path) == entry.sha256)
        except FileNotFoundError:
            if name == WEIGHTS:
                continue
            raise RecordError(f"{path}: is missing; {AGAIN}.") from None
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror}).") from None
        if not same:
            raise RecordError(f"{path}: {NOT_THE_FILE}")


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def copies(found: Sequence[StoredRecord]) -> dict[Path, Path]:
    """Folders whose record repeats that of another cell: the copy, and what it is a copy of.

    No two runs take the same time to the nanosecond and leave the same files. The first path is
    taken for the original.
    """
    seen: dict[tuple[Any, ...], Path] = {}
    repeated: dict[Path, Path] = {}
    for stored in found:
        record = stored.record
        if record.seconds is None or not record.files:
            continue
        files = tuple((name, entry.sha256) for name, entry in record.files.items())
        first = seen.setdefault((record.created_at, record.seconds, files), stored.folder)
        if first != stored.folder:
            repeated[stored.folder] = first
    return repeated
