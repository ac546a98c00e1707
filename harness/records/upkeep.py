"""Care of results folders: merged, brought to the newest schema, cleaned."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.errors import UsageError
from harness.records import atomic, leftovers, store
from harness.records.schema import SCHEMA_VERSION
from harness.records.soundness import place_of
from harness.records.store import RECORD, StoredRecord


@dataclass(frozen=True, kw_only=True)
class Upkeep:
    """What was done: records touched, and a sentence for each that was left out."""

    records: int
    left_out: tuple[str, ...]
    freed_bytes: int = 0


@dataclass
class _Chosen:
    """One record per cell, of those of all sources."""

    cells: dict[Path, StoredRecord] = field(default_factory=dict)

    def add(self, stored: StoredRecord) -> None:
        """Take a record; of two of one cell that which is ok. Raises `UsageError` if both are."""
        place = place_of(stored.record.provenance.machine.name, stored.record.key)
        other = self.cells.get(place)
        if other is None or other.record.status != "ok":
            self.cells[place] = stored
        elif stored.record.status == "ok" and not _same(stored, other):
            raise UsageError(
                f"{stored.folder} and {other.folder} are two records of one cell: nothing was "
                "merged; delete the one that is not to count."
            )


def _same(one: StoredRecord, other: StoredRecord) -> bool:
    facts = ({"digest", "schema_version"},) * 2
    first, second = (
        item.record.model_dump(exclude=skip) for item, skip in zip((one, other), facts, strict=True)
    )
    return first == second


def merge(sources: Sequence[Path], out: Path) -> Upkeep:
    """Bring the records of several results folders, or of several machines, into one.

    What stands in `out` stays and takes part. Raises `UsageError` for two finished records of one
    cell, before anything is written, and `RecordError` if a source is not there.
    """
    chosen, left_out = _Chosen(), list[str]()
    for root in (*((out,) if out.is_dir() else ()), *sources):
        found = store.survey(root)
        left_out += found.left_out
        for stored in found.records:
            chosen.add(stored)
    own = out.resolve()
    new = [item for item in chosen.cells.values() if not item.folder.resolve().is_relative_to(own)]
    for stored in new:
        _copy(stored, out)
    return Upkeep(records=len(new), left_out=tuple(left_out))


def _copy(stored: StoredRecord, out: Path) -> None:
    record, machine = stored.record, stored.record.provenance.machine.name
    with store.lock(out, machine, record.key) as held:
        if not held:
            raise UsageError(f"{out}: a run is writing {record.key.network}; merge after it.")
        store.commit(out, record, keep=stored)
    source = stored.folder.parents[2]
    target = store.group_folder(out, machine, record.key)
    if store.gallery_fault(out, machine, record.key) is None:
        return
    for name in (store.GALLERY, store.GALLERY_DIGEST):
        if (source / name).is_file():
            atomic.write_bytes(target / name, (source / name).read_bytes())


def migrate(root: Path) -> Upkeep:
    """Rewrite records of older schemas in today's, digest included; each is checked before."""
    found = store.survey(root)
    count = 0
    for stored in found.records:
        if _version(stored.folder) == SCHEMA_VERSION:
            continue
        machine, key = stored.record.provenance.machine.name, stored.record.key
        with store.lock(root, machine, key) as held:
            if held:
                store.commit(root, stored.record, keep=stored)
                count += 1
    return Upkeep(records=count, left_out=found.left_out)


def _version(folder: Path) -> object:
    return json.loads((folder / RECORD).read_bytes())["schema_version"]


def clean(root: Path, *, checkpoints: bool = False) -> Upkeep:
    """Delete logs, compilers' caches, leftovers, and checkpoints of finished cells.

    With `checkpoints` those of unfinished cells too. Cells that a run holds are left alone.
    """
    before = _size(root)
    store.sweep(root)
    count, busy = 0, False
    for work in sorted((root / store.WORK).glob("*/*/*/*/*/seed-*")):
        with store.work_lock(root, work) as held:
            if not held:
                busy = True
                continue
            finished = (root / work.relative_to(root / store.WORK) / RECORD).is_file()
            for path in work.iterdir():
                keep = path.name == store.CHECKPOINT and not (finished or checkpoints)
                if path.name != store.LOCK and not keep:
                    leftovers.remove(path)
            count += 1
    for name in () if busy else ("xla", "inductor"):
        shutil.rmtree(root / store.WORK / name, ignore_errors=True)
    return Upkeep(records=count, left_out=(), freed_bytes=before - _size(root))


def _size(root: Path) -> int:
    return sum(path.lstat().st_size for path in root.rglob("*") if path.is_file())
