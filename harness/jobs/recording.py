"""Making a record: the worker does it for a cell that it has done, the parent for one that died."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from harness import registry
from harness.data.description import DatasetMeta
from harness.jobs.job import Job
from harness.records.provenance import collect, without_paths
from harness.records.schema import (
    CellKey,
    Cost,
    MemoryQuantity,
    Record,
    SetScores,
    Status,
    Training,
)

# How the reason of a cell begins that was not run for want of its device.
NO_DEVICE = "not run: "


def dataset_facts(meta: DatasetMeta) -> dict[str, Any]:
    """What a record says of its data set."""
    return meta.model_dump(
        mode="json",
        include={"name", "title", "kind", "licence", "sets", "excluded", "warnings", "split"},
    )


def make_record(
    job: Job,
    cell: CellKey,
    meta: DatasetMeta,
    *,
    status: Status,
    reason: str | None,
    versions: dict[str, str] | None = None,
    seconds: float | None = None,
    cost: Cost | None = None,
    cost_reason: str | None = None,
    training: Training | None = None,
    scores: Mapping[str, SetScores] | None = None,
    memory: Mapping[str, MemoryQuantity] | None = None,
    notes: Sequence[str] = (),
) -> Record:
    """A record with its provenance and what the cell has found."""
    roots = {"results": job.results, "data": job.dataset}
    return Record(
        key=cell,
        status=status,
        reason=without_paths(reason, roots) if reason else None,
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        seconds=seconds,
        title=registry.network(cell.network).card.title,
        command=job.command(cell),
        protocol=job.protocol.model_dump(mode="json"),
        dataset=dataset_facts(meta),
        provenance=collect(versions or {}, job.hardware),
        cost=cost,
        cost_reason=cost_reason,
        training=training,
        scores=dict(scores or {}),
        memory=dict(memory or {}),
        notes=[without_paths(note, roots) for note in notes],
    )
