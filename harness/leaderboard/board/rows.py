"""From the records of one network in one backend to its rows: one row an execution plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from architectures.card import Published
from harness import registry
from harness.errors import UsageError
from harness.leaderboard.board.cells import STATUS_TITLES, Cell, backend_title
from harness.leaderboard.board.columns import SETS, Value, absent, per_cent, rounded, significant
from harness.leaderboard.board.timings import plan_values
from harness.records.schema import Record, SetScores
from harness.records.store import StoredRecord

# In no name that a record may use, so that joined names stay apart ("a-b" and "c", "a" and "b-c").
SEPARATOR = "~"


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
    tiers: dict[str, str] = field(default_factory=dict)
    cell: Cell | None = None

    def number(self, key: str) -> float | None:
        """The number of a column, None where there is none."""
        value = self.values.get(key)
        return value.number if value else None


def rows_of(cell: Cell) -> list[Row]:
    """The rows of a cell: one an execution plan that was timed, or one without a plan."""
    accuracy = _accuracy(cell) | _cost(cell) | _published(cell.network)
    plans = _plans(cell.finished) or [("", "")]
    first = (cell.finished or cell.scored or cell.stored)[0].record
    failed = [stored.record for stored in cell.stored if stored.record.status != "ok"]
    reason = " ".join(
        f"Seed {r.key.seed}: {r.reason or STATUS_TITLES[r.status]}"
        if len(cell.stored) > 1
        else r.reason or ""
        for r in failed
    )
    rows = []
    for plan, precision in plans:
        measured, stamp = plan_values(cell, plan, precision)
        rows.append(
            Row(
                id=_row_id(cell.network, cell.backend, plan, precision),
                network=cell.network,
                title=cell.title,
                backend=cell.backend,
                backend_title=backend_title(cell.backend),
                plan=plan,
                precision=precision,
                status=first.status,
                status_title=STATUS_TITLES[first.status],
                reason=reason,
                flags=_flags(cell, plan),
                stamp=stamp,
                values=accuracy | measured,
                cell=cell,
            )
        )
    return rows


def todo_row(network: str, title: str, backend: str) -> Row:
    """The row of a cell that the plan asks for and that has no record."""
    return Row(
        id=_row_id(network, backend),
        network=network,
        title=title,
        backend=backend,
        backend_title=backend_title(backend),
        status="todo",
        status_title=STATUS_TITLES["todo"],
        reason="No record yet: this cell has not been run.",
        values=_published(network),
    )


def _row_id(*names: str) -> str:
    return SEPARATOR.join(name for name in names if name)


def published(network: str) -> Published | None:
    """The paper's figures for a network, or None where it has none or is not known here."""
    try:
        entry = registry.networks().get(network)
        return entry.card.published if entry else None
    except UsageError:
        return None


def _flags(cell: Cell, plan: str) -> tuple[str, ...]:
    flags = []
    defaults = {e.plan for r in cell.records for e in r.latency if e.default}
    if cell.scored and defaults and plan not in defaults:
        flags.append(f"scored by plan {' and '.join(sorted(defaults))}")
    trained = {r.training.weights_from for r in cell.records if r.training}
    if foreign := sorted(trained - {cell.backend}):
        flags.append(f"weights from {' and '.join(map(backend_title, foreign))}")
    if cell.lost:
        flags.append(
            f"{len(cell.stored) - len(cell.lost)} of {len(cell.stored)} seeds; the others count as "
            "the worst"
        )
    elif len(cell.stored) > 1:
        flags.append(f"{len(cell.stored)} seeds")
    return tuple(flags)


def _plans(finished: Sequence[StoredRecord]) -> list[tuple[str, str]]:
    found = {(e.plan, e.precision): None for stored in finished for e in stored.record.latency}
    return list(found)


def _over_seeds(cell: Cell, set_name: str, name: str) -> tuple[float | None, str]:
    """Mean of a score over seeds, and the seeds' values as a note where there are several.

    A seed that ended without scores has the worst value (statistics, 3): were it left out, a
    network that diverges now and then would look as good as one that never does.
    """
    scores = [r.scores[set_name] for r in _scored(cell) if set_name in r.scores]
    if not scores or getattr(scores[0], name) is None:
        return None, ""
    worst = _worst(scores[0], name)
    if cell.lost and worst is None:
        return None, ""
    found, notes = [], []
    for record in cell.records:
        if set_name in record.scores:
            value, said = getattr(record.scores[set_name], name), ""
        elif record.status == "ok":
            continue
        else:
            value, said = worst, f" ({STATUS_TITLES[record.status]}, counts as the worst)"
        if value is None:
            continue
        found.append(value)
        scale = 1 if name in _COUNTS or name.endswith("_mm") else 100
        notes.append(f"seed {record.key.seed}: {scale * value:.2f}{said}")
    return fmean(found), "; ".join(notes) if len(notes) > 1 else ""


_COUNTS = ("missed", "false_alarm")


def _worst(scores: SetScores, name: str) -> float | None:
    """What a seed without scores counts as; None for a distance, whose worst the record lacks."""
    if name == "missed":
        return scores.slices_with_brain
    if name == "false_alarm":
        return scores.slices - scores.slices_with_brain
    return None if name.endswith("_mm") else 0.0


def _scored(cell: Cell) -> list[Record]:
    return [stored.record for stored in cell.scored]


def _accuracy(cell: Cell) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for set_name in SETS:
        why = _why_none(cell, set_name)
        for name in ("dice", "iou", "nsd", "subject_dice", "dice_all", "paper_dice", "paper_iou"):
            number, note = _over_seeds(cell, set_name, name)
            values[f"{set_name}_{name}"] = per_cent(number, note, why)
        number, note = _over_seeds(cell, set_name, "hd95_mm")
        values[f"{set_name}_hd95_mm"] = rounded(number, 1, note, why)
        for name in _COUNTS:
            values[f"{set_name}_{name}"] = _count(cell, set_name, name)
    return values


def _why_none(cell: Cell, set_name: str) -> str:
    if cell.lost:
        return "a seed ended without scores, and its worst distance is not known"
    if not cell.scored:
        first = cell.records[0]
        return first.reason or STATUS_TITLES[first.status]
    return f"not scored on the {set_name} set"


def _count(cell: Cell, set_name: str, name: str) -> Value:
    number, note = _over_seeds(cell, set_name, name)
    if number is None:
        return absent(_why_none(cell, set_name))
    scores = next(r.scores[set_name] for r in _scored(cell) if set_name in r.scores)
    brain = scores.slices_with_brain
    of = brain if name == "missed" else scores.slices - brain
    kind = "slices with brain" if name == "missed" else "slices without brain"
    text = f"{number:.0f}" if number == int(number) else f"{number:.1f}"
    parts = [f"of {of} {kind}", note]
    return Value(number=number, text=text, note="; ".join(part for part in parts if part))


def _cost(cell: Cell) -> dict[str, Value]:
    record = (cell.finished or cell.scored or cell.stored)[0].record
    values: dict[str, Value] = {}
    cost, why = record.cost, record.cost_reason or record.reason or "not counted"
    values["parameters"] = rounded(cost.trainable_parameters if cost else None, 0, none=why)
    size = f"at {cost.height}×{cost.width}" if cost else ""
    values["gflops"] = significant(cost.flops / 1e9 if cost else None, size, why)
    values["paper_convention_gflops"] = significant(
        cost.paper_convention_gflops if cost else None, size, why
    )
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
