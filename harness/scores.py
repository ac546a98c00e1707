"""The slice scores of many records as one table, never mixing what may not be compared."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from harness.errors import UsageError
from harness.records import StoredRecord


def slice_table(stored: Sequence[StoredRecord]) -> pd.DataFrame:
    """Columns of slices.parquet and network, backend, seed, of all records that have scores.

    Raises `UsageError` where the records are of several data sets, protocols or machines.
    """
    scored = [item for item in stored if item.record.scores]
    if not scored:
        raise UsageError("no record has scores: start with `fetalbench run`.")
    groups = sorted({_group(item) for item in scored})
    if len(groups) > 1:
        raise UsageError(
            "the records are of several data sets, protocols or machines, which are not compared: "
            f"choose with --dataset, --protocol or --machine among {'; '.join(groups)}."
        )
    return pd.concat(
        [
            item.slices().assign(
                network=item.record.key.network,
                backend=item.record.key.backend,
                seed=item.record.key.seed,
            )
            for item in scored
        ],
        ignore_index=True,
    )


def choose(
    stored: Sequence[StoredRecord], *, dataset: str, protocol: str, machine: str
) -> list[StoredRecord]:
    """The records of that data set, protocol (name or start of hash) and machine; "" means any."""
    return [
        item
        for item in stored
        if _fits(dataset, item.record.key.dataset, item.record.key.dataset_hash)
        and _fits(protocol, item.record.key.protocol, item.record.key.protocol_hash)
        and machine in ("", item.record.provenance.machine.name)
    ]


def _fits(wanted: str, name: str, digest: str) -> bool:
    return wanted in ("", name) or (len(wanted) >= 4 and digest.startswith(wanted))


def _group(item: StoredRecord) -> str:
    key = item.record.key
    return (
        f"{key.dataset}-{key.dataset_hash[:8]} / {key.protocol}-{key.protocol_hash[:8]} / "
        f"{item.record.provenance.machine.name}"
    )
