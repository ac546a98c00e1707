"""From the records of one network in one backend to its rows, one per execution plan."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from architectures.card import Published
from harness import registry
from harness.errors import UsageError
from harness.leaderboard.board.columns import Value, absent, per_cent, rounded, significant
from harness.leaderboard.board.plan_accuracy import accuracy_of, plan_accuracy
from harness.leaderboard.board.seed_groups import SeedGroup
from harness.leaderboard.board.timings import Quantity, plan_values, timed, timed_seed
from harness.leaderboard.board.titles import SETS, STATUS_TITLES, backend_title
from harness.records.schema import Latency, Record, SetScores
from harness.records.store import StoredRecord
from harness.statistics.proportions import proportion

# No name in a record may contain it, so that joined names stay apart ("a-b", "c" and "a", "b-c").
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
    seeds: SeedGroup | None = None

    def number(self, key: str) -> float | None:
        """The number in a column, or None."""
        value = self.values.get(key)
        return value.number if value else None

    @property
    def name(self) -> str:
        """Network, backend and plan."""
        return ", ".join(part for part in (self.title, self.backend_title, self.plan) if part)

    @property
    def has_result(self) -> bool:
        """Whether there is a score or a measurement behind the row."""
        return self.seeds is not None and self.seeds.has_result

    @property
    def trained(self) -> bool:
        """Whether weights were trained; what was never trained is a floor, there to be beaten."""
        return self.seeds is not None and any(record.training for record in self.seeds.records)

    @property
    def mean_dice(self) -> float | None:
        """Mean of the Dice that ranks (per cent) over the test sets with scores."""
        found = [self.number(f"{set_name}_subject_dice") for set_name in SETS]
        known = [number for number in found if number is not None]
        return fmean(known) if known else None

    @property
    def dice_text(self) -> str:
        """The Dice that ranks, on each test set, in words."""
        parts = [
            f"{number:.1f}\N{NO-BREAK SPACE}% on {set_name}"
            for set_name in SETS
            if (number := self.number(f"{set_name}_subject_dice")) is not None
        ]
        return f"Dice {' and '.join(parts)} slices"

    def latencies(self, quantity: Quantity) -> dict[int, Latency]:
        """The latency of this row's plan by batch size, whatever its status."""
        return timed(self.seeds, self.plan, self.precision, quantity) if self.seeds else {}

    def timed_record(self, quantity: Quantity) -> StoredRecord | None:
        """The record that `latencies` come from."""
        return timed_seed(self.seeds, self.plan, self.precision, quantity) if self.seeds else None


def rows_of(group: SeedGroup) -> list[Row]:
    """The rows of a group: one per execution plan that was timed, or one without a plan."""
    accuracy = _accuracy(group) | _cost(group) | _published(group.network)
    plans = _plans(group.finished) or [("", "")]
    reason = _failures(group)
    rows = []
    for plan, precision in plans:
        measured, stamp = plan_values(group, plan, precision)
        measured |= plan_accuracy(group, plan, precision) if plan else {}
        rows.append(
            Row(
                id=_row_id(group.network, group.backend, plan, precision),
                network=group.network,
                title=group.title,
                backend=group.backend,
                backend_title=backend_title(group.backend),
                plan=plan,
                precision=precision,
                status=group.first.status,
                status_title=STATUS_TITLES[group.first.status],
                reason=reason,
                flags=_flags(group, plan, precision),
                stamp=stamp,
                values=accuracy | measured,
                seeds=group,
            )
        )
    return rows


def _failures(group: SeedGroup) -> str:
    """Why seeds failed; the seed is named if there are several."""
    failed = [record for record in group.records if record.status != "ok"]
    if len(group.stored) == 1:
        return " ".join(record.reason or "" for record in failed)
    return " ".join(f"Seed {r.key.seed}: {r.reason or STATUS_TITLES[r.status]}" for r in failed)


def todo_row(network: str, title: str, backend: str) -> Row:
    """The row of a network and backend that the grid asks for and that has no record."""
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
    """The paper's figures for a network; None if it has none or the network is unknown here."""
    try:
        entry = registry.networks().get(network)
        return entry.card.published if entry else None
    except UsageError:
        return None


def _flags(group: SeedGroup, plan: str, precision: str) -> tuple[str, ...]:
    flags = []
    defaults = {e.plan for r in group.records for e in r.latency if e.default}
    own = accuracy_of(group, plan, precision)
    if group.scored and defaults and plan not in defaults and (own is None or not own.sets):
        flags.append(f"scored by plan {' and '.join(sorted(defaults))}")
    trained = {r.training.weights_from for r in group.records if r.training}
    if foreign := sorted(trained - {group.backend}):
        flags.append(f"weights from {' and '.join(map(backend_title, foreign))}")
    precisions = {r.training.precision for r in group.records if r.training} - {"float32"}
    # Whatever it was trained in, its accuracy is that of the float64 network.
    flags += [f"trained in {precision}, scored in float64" for precision in sorted(precisions)]
    if group.lost:
        flags.append(
            f"{len(group.stored) - len(group.lost)} of {len(group.stored)} seeds; the others count "
            "as the worst"
        )
    elif len(group.stored) > 1:
        flags.append(f"{len(group.stored)} seeds")
    return tuple(flags)


def _plans(finished: Sequence[StoredRecord]) -> list[tuple[str, str]]:
    found = {(e.plan, e.precision): None for stored in finished for e in stored.record.latency}
    return list(found)


def _over_seeds(group: SeedGroup, set_name: str, name: str) -> tuple[float | None, str]:
    """Mean of a score over seeds, and the value of each seed as a note if there are several.

    A seed without scores has the worst value (docs/statistics.md, 3): if it were left out, a
    network that sometimes diverges would look as good as one that never does.
    """
    scores = [r.scores[set_name] for r in _scored(group) if set_name in r.scores]
    if not scores or getattr(scores[0], name) is None:
        return None, ""
    worst = _worst(scores[0], name)
    if group.lost and worst is None:
        return None, ""
    found, notes = [], []
    for record in group.records:
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
_SHARES = {"missed": "sensitivity", "false_alarm": "specificity"}


def _worst(scores: SetScores, name: str) -> float | None:
    """What a seed without scores counts as; None for a distance, which has no worst value."""
    if name == "missed":
        return scores.slices_with_brain
    if name == "false_alarm":
        return scores.slices - scores.slices_with_brain
    return None if name.endswith("_mm") else 0.0


def _scored(group: SeedGroup) -> list[Record]:
    return [stored.record for stored in group.scored]


def _accuracy(group: SeedGroup) -> dict[str, Value]:
    values: dict[str, Value] = {}
    for set_name in SETS:
        why = _why_none(group, set_name)
        for name in ("dice", "iou", "nsd", "subject_dice", "dice_all", "paper_dice", "paper_iou"):
            number, note = _over_seeds(group, set_name, name)
            values[f"{set_name}_{name}"] = per_cent(number, note, why)
        number, note = _over_seeds(group, set_name, "hd95_mm")
        values[f"{set_name}_hd95_mm"] = rounded(number, 1, note, why)
        for name in _COUNTS:
            count = _count(group, set_name, name)
            values[f"{set_name}_{name}"] = count
            values[f"{set_name}_{_SHARES[name]}"] = _share(group, set_name, name, count)
    return values


def _why_none(group: SeedGroup, set_name: str) -> str:
    if group.lost:
        return "a seed has no scores, and a distance has no worst value to count for it"
    if not group.scored:
        first = group.records[0]
        return first.reason or STATUS_TITLES[first.status]
    return f"not scored on the {set_name} set"


def _count(group: SeedGroup, set_name: str, name: str) -> Value:
    number, note = _over_seeds(group, set_name, name)
    if number is None:
        return absent(_why_none(group, set_name))
    of = _slices(group, set_name, name)
    kind = "slices with brain" if name == "missed" else "slices without brain"
    text = f"{number:.0f}" if number == int(number) else f"{number:.1f}"
    parts = [f"of {of} {kind}", note]
    note = "; ".join(part for part in parts if part)
    return Value(number=number, text=text, note=note, below=f"of {of}")


def _slices(group: SeedGroup, set_name: str, name: str) -> int:
    """How many slices could be missed, or raise a false alarm."""
    scores = next(r.scores[set_name] for r in _scored(group) if set_name in r.scores)
    brain = scores.slices_with_brain
    return brain if name == "missed" else scores.slices - brain


def _share(group: SeedGroup, set_name: str, name: str, count: Value) -> Value:
    """Sensitivity or specificity by slice, from the count of wrong slices."""
    if count.number is None:
        return absent(count.note)
    of = _slices(group, set_name, name)
    if of == 0:
        return absent("there is no such slice")
    found = proportion(of - count.number, of)
    low, high = 100 * found.low, 100 * found.high
    return Value(
        number=100 * found.share,
        text=f"{100 * found.share:.1f}",
        note=f"95 % interval {low:.1f}–{high:.1f} over slices (Clopper & Pearson)",
        interval=(low, high),
        below=f"{low:.0f}–{high:.0f}",
    )


def _cost(group: SeedGroup) -> dict[str, Value]:
    record = group.first
    values: dict[str, Value] = {}
    cost, why = record.cost, record.cost_reason or record.reason or "not counted"
    values["parameters"] = rounded(cost.trainable_parameters if cost else None, 0, none=why)
    size = f"at {cost.height}×{cost.width}" if cost else ""
    flops = cost.flops if cost else None
    values["gflops"] = significant(None if flops is None else flops / 1e9, size, why)
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
