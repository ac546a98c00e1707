"""From the records of one network in one backend to its rows: one row an execution plan."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from architectures.card import Published
from harness import registry
from harness.errors import UsageError
from harness.leaderboard.columns import (
    MEMORY,
    SETS,
    Value,
    absent,
    per_cent,
    rounded,
    significant,
)
from harness.record_schema import Latency, Record, SetScores
from harness.records import StoredRecord

STATUS_TITLES = {
    "ok": "ok",
    "oom": "out of memory",
    "timeout": "timed out",
    "crashed": "crashed",
    "invalid": "invalid",
    "diverged": "diverged",
    "unsupported": "unsupported",
    "not_implemented": "not implemented",
    "todo": "to do",
}
PLAN_ORDER = ("forward", "end_to_end")
MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Cell:
    """All seeds of one network in one backend, on one machine, lowest seed first."""

    network: str
    backend: str
    stored: tuple[StoredRecord, ...]

    @property
    def records(self) -> list[Record]:
        """The records, lowest seed first."""
        return [stored.record for stored in self.stored]

    @property
    def finished(self) -> list[StoredRecord]:
        """The seeds that ended well."""
        return [stored for stored in self.stored if stored.record.status == "ok"]

    @property
    def title(self) -> str:
        """The network's name as its card wrote it when the cell ran."""
        return self.records[0].title


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the leaderboard."""

    id: str
    network: str
    title: str
    backend: str
    backend_title: str
    plan: str = ""
    precision: str = ""
    status: str
    status_title: str
    reason: str = ""
    flags: tuple[str, ...] = ()
    stamp: str = ""
    values: dict[str, Value] = field(default_factory=dict)
    cell: Cell | None = None


def rows_of(cell: Cell) -> list[Row]:
    """The rows of a cell: one an execution plan that was timed, or one without a plan."""
    accuracy = _accuracy(cell) | _cost(cell) | _published(cell.network)
    plans = _plans(cell.finished) or [("", "")]
    first = (cell.finished or cell.stored)[0].record
    failed = [stored.record for stored in cell.stored if stored.record.status != "ok"]
    reason = " ".join(
        f"Seed {r.key.seed}: {r.reason or STATUS_TITLES[r.status]}"
        if len(cell.stored) > 1
        else r.reason or ""
        for r in failed
    )
    rows = []
    for plan, precision in plans:
        timed, stamp = _timed(cell, plan, precision)
        rows.append(
            Row(
                id="-".join(part for part in (cell.network, cell.backend, plan, precision) if part),
                network=cell.network,
                title=cell.title,
                backend=cell.backend,
                backend_title=backend_title(cell.backend),
                plan=plan,
                precision=precision,
                status=first.status,
                status_title=STATUS_TITLES[first.status],
                reason=reason,
                flags=_flags(cell),
                stamp=stamp,
                values=accuracy | timed,
                cell=cell,
            )
        )
    return rows


def todo_row(network: str, title: str, backend: str) -> Row:
    """The row of a cell that the plan asks for and that has no record."""
    return Row(
        id=f"{network}-{backend}",
        network=network,
        title=title,
        backend=backend,
        backend_title=backend_title(backend),
        status="todo",
        status_title=STATUS_TITLES["todo"],
        reason="No record yet: this cell has not been run.",
        values=_published(network),
    )


def backend_title(name: str) -> str:
    """What a reader calls a backend."""
    return registry.BACKEND_TITLES.get(name, name)


def published(network: str) -> Published | None:
    """The paper's figures for a network, or None where it has none or is not known here."""
    try:
        entry = registry.networks().get(network)
        return entry.card.published if entry else None
    except UsageError:
        return None


def _flags(cell: Cell) -> tuple[str, ...]:
    flags = []
    trained = {r.training.weights_from for r in cell.records if r.training}
    if foreign := sorted(trained - {cell.backend}):
        flags.append(f"weights from {' and '.join(map(backend_title, foreign))}")
    if len(cell.finished) < len(cell.stored) and cell.finished:
        flags.append(f"{len(cell.finished)} of {len(cell.stored)} seeds")
    elif len(cell.stored) > 1:
        flags.append(f"{len(cell.stored)} seeds")
    return tuple(flags)


def _plans(finished: Sequence[StoredRecord]) -> list[tuple[str, str]]:
    found = {(e.plan, e.precision): None for stored in finished for e in stored.record.latency}
    return list(found)


def _over_seeds(records: Iterable[Record], set_name: str, name: str) -> tuple[float | None, str]:
    """Mean of a score over seeds, and the seeds' values as a note where there are several."""
    found = {r.key.seed: getattr(r.scores[set_name], name) for r in records if set_name in r.scores}
    known = {seed: value for seed, value in found.items() if value is not None}
    if not known:
        return None, ""
    note = ""
    if len(known) > 1:
        scale = 1 if name in _COUNTS or name.endswith("_mm") else 100
        note = "; ".join(f"seed {seed}: {scale * value:.2f}" for seed, value in known.items())
    return fmean(known.values()), note


_COUNTS = ("missed", "false_alarm")


def _accuracy(cell: Cell) -> dict[str, Value]:
    records = [stored.record for stored in cell.finished]
    values: dict[str, Value] = {}
    for set_name in SETS:
        scores = next((r.scores[set_name] for r in records if set_name in r.scores), None)
        for name in ("dice", "iou", "nsd", "subject_dice", "dice_all", "paper_dice", "paper_iou"):
            number, note = _over_seeds(records, set_name, name)
            values[f"{set_name}_{name}"] = per_cent(number, note, _why_none(cell, set_name))
        number, note = _over_seeds(records, set_name, "hd95_mm")
        values[f"{set_name}_hd95_mm"] = rounded(number, 1, note, _why_none(cell, set_name))
        for name in _COUNTS:
            values[f"{set_name}_{name}"] = _count(cell, set_name, name, scores)
    return values


def _why_none(cell: Cell, set_name: str) -> str:
    if not cell.finished:
        return cell.records[0].reason or STATUS_TITLES[cell.records[0].status]
    return f"not scored on the {set_name} set"


def _count(cell: Cell, set_name: str, name: str, scores: SetScores | None) -> Value:
    records = [stored.record for stored in cell.finished]
    number, note = _over_seeds(records, set_name, name)
    if number is None or scores is None:
        return absent(_why_none(cell, set_name))
    brain = scores.slices_with_brain
    of = brain if name == "missed" else scores.slices - brain
    kind = "slices with brain" if name == "missed" else "slices without brain"
    text = f"{number:.0f}" if number == int(number) else f"{number:.1f}"
    parts = [f"of {of} {kind}", note]
    return Value(number=number, text=text, note="; ".join(part for part in parts if part))


def _cost(cell: Cell) -> dict[str, Value]:
    records = [stored.record for stored in cell.finished]
    record = next(iter(records), cell.records[0])
    values: dict[str, Value] = {}
    cost, why = record.cost, record.cost_reason or record.reason or "not counted"
    values["parameters"] = rounded(cost.trainable_parameters if cost else None, 0, none=why)
    size = f"at {cost.height}×{cost.width}" if cost else ""
    values["gflops"] = significant(cost.flops / 1e9 if cost else None, size, why)
    values["paper_convention_gflops"] = significant(
        cost.paper_convention_gflops if cost else None, size, why
    )
    for key in MEMORY:
        quantity = record.memory.get(key)
        mib = quantity.bytes / MIB if quantity and quantity.bytes is not None else None
        reason = (quantity.reason if quantity else None) or record.reason or "not measured"
        values[key.removesuffix("_bytes") + "_mib"] = rounded(mib, 0, none=reason)
    return values


def _published(network: str) -> dict[str, Value]:
    figures = published(network)
    if figures is None:
        return {}
    values = {
        f"{set_name}_published_{name}": rounded(getattr(figures, f"{set_name}_{name}"), 2)
        for set_name in SETS
        for name in ("dice", "iou")
    }
    gflops = Value(number=float(figures.gflops), text=figures.gflops, note="at 256×256")
    spread = f"± {figures.latency_ms_std:g} ms, on the paper's GPU"
    return values | {
        "published_parameters": rounded(figures.trainable_parameters, 0),
        "published_gflops": gflops,
        "published_latency_ms": rounded(figures.latency_ms_mean, 2, spread),
    }


def timed(cell: Cell, plan: str, precision: str, quantity: str) -> dict[int, Latency]:
    """Latency by batch size, of the lowest seed that has the plan: seeds are never averaged."""
    for stored in cell.finished:
        found = {
            entry.batch: entry
            for entry in stored.record.latency
            if (entry.plan, entry.precision, entry.quantity) == (plan, precision, quantity)
        }
        if found:
            return found
    return {}


def _timed(cell: Cell, plan: str, precision: str) -> tuple[dict[str, Value], str]:
    values: dict[str, Value] = {}
    stamp = ""
    for quantity in PLAN_ORDER:
        entry = timed(cell, plan, precision, quantity).get(1)
        if entry is None:
            why = cell.records[0].reason if not cell.finished else None
            for key in ("p50_ms", "p90_ms"):
                values[f"{quantity}_{key}"] = absent(why or "not measured at batch size 1")
            continue
        text = STATUS_TITLES[entry.status] if entry.status != "ok" else "–"
        why = entry.reason or "unknown"
        note = f"{entry.queries} queries, {entry.profile} profile"
        for key, number in (("p50_ms", entry.median_ms), ("p90_ms", entry.p90_ms)):
            value = significant(number, note)
            values[f"{quantity}_{key}"] = absent(why, text) if number is None else value
        if quantity == "forward":
            values["first_call_ms"] = significant(entry.first_call_ms, note, why)
            values["compile_ms"] = significant(entry.compile_ms, note, "nothing is compiled ahead")
            spread = f"± {entry.std_ms:.2f} ms; {note}" if entry.std_ms is not None else note
            values["forward_mean_ms"] = significant(entry.mean_ms, spread, why)
        if entry.status == "ok" and not entry.publishable:
            stamp = _stamp(entry)
    return values, stamp


def _stamp(entry: Latency) -> str:
    if entry.profile == "quick":
        return "not publishable: quick profile"
    if entry.steady is False:
        return "not publishable: never got steady"
    return f"not publishable: {entry.reason or f'{entry.profile} profile'}"
