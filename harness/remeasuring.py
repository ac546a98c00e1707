"""Measuring a cell whose record stands already: one of the fresh processes behind its figures.

The protocol's profile says how many processes share the queries (measuring, 6). Each adds its raw
samples to the record; all else in the record stays as it is, to the byte.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from backends.contract import Network
from backends.weights import read_weights
from harness import records
from harness.job import Job
from harness.record_schema import CellKey, Latency, Record, Status
from harness.records import StoredRecord

if TYPE_CHECKING:
    import pandas as pd

WEIGHTS = "weights.safetensors"
SAMPLES = "latency.parquet"


def own_weights(stored: StoredRecord, network: Network) -> bool:
    """Load the weights that the cell has trained itself; False where it has not."""
    training = stored.record.training
    if training is None or WEIGHTS not in stored.record.files:
        return False
    path = stored.folder / WEIGHTS
    network.set_weights(read_weights(path, network.weight_specs(), training.weights_sha256))
    return True


def add(
    job: Job,
    stored: StoredRecord,
    summaries: list[Latency],
    samples: pd.DataFrame,
    **found: Any,
) -> StoredRecord:
    """Commit the record with the samples of process `job.part` beside those that it has."""
    # Its tables need pandas, which the parent process does without.
    from harness.measuring.session import pool

    parts: list[tuple[list[Latency], pd.DataFrame]] = [(summaries, samples)]
    if job.part:
        parts.insert(0, (stored.record.latency, stored.latency_samples()))
    latency, pooled = pool(parts, job.device)
    notes = list(dict.fromkeys([*stored.record.notes, *found.pop("notes")]))
    record = stored.record.model_copy(
        update={
            "status": "ok",
            "reason": None,
            "latency": latency,
            "measured_by": job.part + 1,
            "notes": notes,
            **found,
        }
    )
    return _commit(job, stored, record, {SAMPLES: pooled})


def lose(job: Job, key: CellKey, status: Status, reason: str) -> bool:
    """Mark the record after a process that died while it measured; False where there is none."""
    stored = records.find_record(job.results, job.machine, key)
    if stored is None or not job.adds:
        return False
    update = {"status": status, "reason": f"while measuring: {reason}"}
    _commit(job, stored, stored.record.model_copy(update=update), {})
    return True


def _commit(
    job: Job, stored: StoredRecord, record: Record, tables: dict[str, pd.DataFrame]
) -> StoredRecord:
    kept = {
        name: (stored.folder / name).read_bytes()
        for name in stored.record.files
        if name not in tables
    }
    return records.commit(job.results, record, tables, kept)
