"""The grid of cells, and what is already there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from harness import registry
from harness.data.description import DatasetMeta
from harness.errors import NewerRecord, RecordError
from harness.measuring.entries import missing_parts
from harness.protocol import Protocol
from harness.records.schema import CellKey
from harness.records.store import find_record

State = Literal["done", "to do", "to measure", "failed", "not implemented", "not installed"]


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """One cell and its state; `reason` says why it is not done."""

    key: CellKey
    state: State
    reason: str = ""

    def row(self) -> dict[str, str | int]:
        """The cell as a row of `plan --json`."""
        return {
            "network": self.key.network,
            "backend": self.key.backend,
            "dataset": self.key.dataset,
            "protocol": self.key.protocol,
            "seed": self.key.seed,
            "state": self.state,
            "reason": self.reason,
        }


def grid(
    protocol: Protocol, networks: Sequence[str], backends: Sequence[str], seeds: Sequence[int]
) -> list[tuple[str, str, int]]:
    """(network, backend, seed) of every cell; options first, then the protocol, then everything.

    Ordered by backend, so that cells of one framework can share a process where the protocol
    allows it, and PyTorch first, whose weights others may carry. A network written for NumPy alone
    has its NumPy cell only, unless a backend is asked for.
    """
    names = [registry.network(n).name for n in networks or protocol.grid.networks]
    names = names or list(registry.networks())
    chosen = [registry.backend(b) for b in backends or protocol.grid.backends]
    cells = []
    for seed in seeds or protocol.grid.seeds:
        for backend in chosen or registry.frameworks():
            for name in names:
                entry = registry.network(name)
                own_backend = entry.implements(backend)
                plain = entry.implements("numpy")
                if own_backend or (not plain and backend != "numpy"):
                    cells.append((name, backend, seed))
    return list(dict.fromkeys(cells))


def plan(
    protocol: Protocol,
    dataset: DatasetMeta,
    results: Path,
    machine: str,
    *,
    networks: Sequence[str] = (),
    backends: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> list[PlannedCell]:
    """All cells that are asked for, with their states. Raises `UsageError` or `RecordError`."""
    cells = grid(protocol, networks, backends, seeds)
    first = measured_seed([seed for _, _, seed in cells])
    return [
        _state(
            CellKey(
                network=name,
                backend=backend,
                dataset=dataset.name,
                dataset_hash=dataset.hash,
                protocol=protocol.name,
                protocol_hash=protocol.hash,
                seed=seed,
            ),
            results,
            machine,
            protocol,
            measured=seed == first,
        )
        for name, backend, seed in cells
    ]


def measured_seed(seeds: Sequence[int]) -> int | None:
    """The seed whose cells are timed: latency does not depend on the weights."""
    return min(seeds, default=None)


def plans_of(protocol: Protocol, backend: str) -> tuple[str, ...]:
    """Execution plans to measure; "" is the backend's default."""
    return protocol.measuring.plans.get(backend) or ("",)


def _state(
    key: CellKey, results: Path, machine: str, protocol: Protocol, *, measured: bool
) -> PlannedCell:
    try:
        stored = find_record(results, machine, key)
    except NewerRecord:
        raise
    except RecordError as error:
        # Damaged: what a run can mend is no reason to refuse it.
        return PlannedCell(key=key, state="failed", reason=str(error))
    accurate = stored is not None and (stored.record.status == "ok" or bool(stored.record.scores))
    if stored and accurate and measured:
        plans = plans_of(protocol, key.backend)
        missing = [missing_parts(stored.record, plan, protocol.measuring) for plan in plans]
        if any(missing):
            count = sum(map(len, missing))
            reason = f"{count} measuring process{'es' if count > 1 else ''} missing"
            return PlannedCell(key=key, state="to measure", reason=reason)
    if stored and accurate:
        return PlannedCell(key=key, state="done")
    if not registry.network(key.network).implements(key.backend):
        return PlannedCell(
            key=key, state="not implemented", reason=f"the network has no file for {key.backend}"
        )
    missing = registry.missing_modules(key.backend)
    if missing:
        return PlannedCell(
            key=key, state="not installed", reason=f"{', '.join(missing)} is not installed"
        )
    if stored and stored.record.status not in ("not_implemented", "unsupported"):
        reason = f"{stored.record.status}: {stored.record.reason}"
        return PlannedCell(key=key, state="failed", reason=reason)
    return PlannedCell(key=key, state="to do")
