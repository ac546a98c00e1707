"""The slice scores of many records as one table, never mixing what may not be compared.

Who takes part in a comparison, and what the family of comparisons is, is decided here and nowhere
else: the page and `fetalbench compare` ask the same functions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import groupby

import pandas as pd

from harness import registry
from harness.errors import UsageError
from harness.records.schema import Training
from harness.records.store import StoredRecord

# Alone in its framework: no network is missing there because it was not run.
FLOOR_BACKEND = "numpy"
IDENTITY = ["set", "subject", "stack", "slice", "brain_pixels"]


def is_scored(item: StoredRecord) -> bool:
    """Whether a record takes part in comparisons of accuracy, whatever became of its latency."""
    return bool(item.record.scores)


def lost_seeds(cell: Sequence[StoredRecord]) -> list[StoredRecord]:
    """Of one cell's seeds those that ended without scores; none if no seed has scores."""
    if not any(map(is_scored, cell)):
        return []
    return [item for item in cell if not is_scored(item) and item.record.status != "ok"]


def lost_seeds_notes(stored: Sequence[StoredRecord]) -> list[str]:
    """A sentence for each cell some of whose seeds ended without scores, and what that does."""
    notes = []
    for (network, backend), group in groupby(sorted(stored, key=_cell), key=_cell):
        cell = list(group)
        if lost := lost_seeds(cell):
            notes.append(
                f"{cell[0].record.title} ({network}) in {backend}: {len(lost)} of {len(cell)} "
                "seeds ended without scores and count as the worst in its means and ranks; run "
                "them again if the machine was to blame."
            )
    return notes


def slice_table(
    stored: Sequence[StoredRecord],
    columns: Sequence[str] | None = None,
    name: Callable[[str], str] = str,
) -> pd.DataFrame:
    """Columns of slices.parquet and network, backend, seed, of all records that have scores.

    A seed that ended without scores where other seeds of its cell have some stands in the table
    without values, which a comparison counts as the worst. `columns` keeps only these columns,
    `name` says what a network is called. Raises `UsageError` if no record has scores or the
    records are of several data sets, protocols or machines.
    """
    scored = [item for item in stored if is_scored(item)]
    if not scored:
        raise UsageError("no record has scores: start with `fetalbench run`.")
    groups = sorted({_group(item) for item in scored})
    if len(groups) > 1:
        raise UsageError(
            "the records are of several data sets, protocols or machines, which are not compared: "
            f"choose with --dataset, --protocol or --machine among {'; '.join(groups)}."
        )
    tables = []
    ordered = sorted(stored, key=lambda item: (*_cell(item), item.record.key.seed))
    for _, group in groupby(ordered, key=_cell):
        cell = list(group)
        found = {item.record.key.seed: item.slices() for item in cell if is_scored(item)}
        if not found:
            continue
        asked = next(iter(found.values()))[IDENTITY]
        found |= {item.record.key.seed: asked for item in lost_seeds(cell)}
        key = cell[0].record.key
        tables += [
            (table if columns is None else table[[c for c in columns if c in table]]).assign(
                network=name(key.network), backend=key.backend, seed=seed
            )
            for seed, table in found.items()
        ]
    return pd.concat(tables, ignore_index=True)


def declared(stored: Sequence[StoredRecord]) -> dict[str, list[str]]:
    """The networks that each backend is asked to compare: the grid that the records come from.

    It is the protocol's if that names networks or backends; if it does not, it is every
    network that was run in a framework times every framework that was used. A network that has no
    such implementation is not asked for. What failed or is still to be run is, since a family that
    shrinks when a network fails would reward the failure.
    """
    keys = [item.record.key for item in stored]
    present = {(key.network, key.backend) for key in keys}
    networks = {key.network for key in keys if key.backend != FLOOR_BACKEND}
    backends = {key.backend for key in keys if key.backend != FLOOR_BACKEND}
    floor = {key.network for key in keys} - networks
    for item in stored:
        grid = item.protocol().grid
        networks |= set(grid.networks) - floor
        backends |= set(grid.backends) - {FLOOR_BACKEND}
    absent = {
        (item.record.key.network, item.record.key.backend)
        for item in stored
        if item.record.status == "not_implemented"
    }
    asked = present | {
        (network, backend)
        for network in networks
        for backend in backends
        if _can_be_built(network, backend)
    }
    return {
        backend: sorted(network for network, other in asked - absent if other == backend)
        for backend in sorted({backend for _, backend in asked - absent})
    }


def _can_be_built(network: str, backend: str) -> bool:
    """False if the network is known here and has no file for the backend."""
    entry = registry.networks().get(network)
    return entry is None or entry.implements(backend)


def declared_backends(stored: Sequence[StoredRecord]) -> dict[str, list[str]]:
    """The backends in which each network is asked for: `declared`, the other way round."""
    found: dict[str, list[str]] = {}
    for backend, networks in declared(stored).items():
        for network in networks:
            found.setdefault(network, []).append(backend)
    return found


def trainings(
    stored: Sequence[StoredRecord], name: Callable[[str], str] = str
) -> dict[str, dict[str, Training]]:
    """How each network was trained, by backend and network (as `name` calls it).

    Of several seeds the first that has scores: they follow one protocol.
    """
    found: dict[str, dict[str, Training]] = {}
    for item in sorted(stored, key=lambda item: (*_cell(item), item.record.key.seed)):
        training, key = item.record.training, item.record.key
        if training is not None and is_scored(item):
            found.setdefault(key.backend, {}).setdefault(name(key.network), training)
    return found


def trainings_by_network(stored: Sequence[StoredRecord]) -> dict[str, dict[str, Training]]:
    """`trainings`, the other way round: by network and backend."""
    found: dict[str, dict[str, Training]] = {}
    for backend, networks in trainings(stored).items():
        for network, training in networks.items():
            found.setdefault(network, {})[backend] = training
    return found


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


def _cell(item: StoredRecord) -> tuple[str, str]:
    return item.record.key.network, item.record.key.backend
