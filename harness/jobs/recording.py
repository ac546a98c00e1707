"""Making a record: the worker does it for a cell that it has done, the parent for one that died."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from harness import registry
from harness.data.catalogue import Dataset
from harness.jobs.job import Job
from harness.records.provenance import collect, without_paths
from harness.records.schema import CellKey, Record, Status

# How the reason of a cell begins that was not run for want of its device.
NO_DEVICE = "not run: "


def dataset_facts(dataset: Dataset) -> dict[str, Any]:
    """What a record says of its data set."""
    return dataset.meta.model_dump(
        mode="json",
        include={"name", "title", "kind", "licence", "sets", "excluded", "warnings", "split"},
    )


def make_record(
    job: Job,
    cell: CellKey,
    dataset: Dataset,
    *,
    status: Status,
    reason: str | None,
    versions: dict[str, str],
    **fields: Any,
) -> Record:
    """A record with its provenance; `fields` are those that the cell has found."""
    roots = {"results": job.results, "data": job.dataset}
    notes = [without_paths(note, roots) for note in fields.pop("notes", [])]
    return Record(
        key=cell,
        status=status,
        reason=without_paths(reason, roots) if reason else None,
        notes=notes,
        created_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        title=registry.network(cell.network).card.title,
        command=job.command(cell),
        protocol=job.protocol.model_dump(mode="json"),
        dataset=dataset_facts(dataset),
        provenance=collect(versions, job.hardware),
        **fields,
    )
