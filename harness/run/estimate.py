"""How long a run will take, before anything is started: an estimate, with what it rests on."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from backends import plans
from backends.plans import PLANS, Plan
from harness import registry
from harness.data.description import DatasetMeta
from harness.jobs.job import Job
from harness.measuring import entries
from harness.measuring.profiles import profile
from harness.records import store
from harness.records.schema import CellKey, Condition, Record
from harness.run.grid import GridCell, is_accurate, measured_seed, missing_parts
from harness.run.speeds import SPREAD, Source, Speed, Speeds

# (p.) A process starts, imports its framework, reads the data and finds the device's peak.
PROCESS_SECONDS = 10.0
# (p.) One condition is compiled, called and found steady.
PREPARE_SECONDS = 4.0
# (p.) Masks come from float64, which takes about twice as long; a slice is scored in so much.
EXACT_OF_INFERENCE = 2.0
SCORE_SECONDS = 0.02
# Of a network that NumPy computes, without a record.
NUMPY_SECONDS = 0.005


@dataclass(frozen=True, kw_only=True)
class CellEstimate:
    """Seconds of one cell, None if nothing is known of its speed; `processes` measure it."""

    training_s: float | None = 0.0
    measuring_s: float | None = 0.0
    processes: int = 0
    source: Source | None = None


def estimate(
    template: Job, dataset: DatasetMeta, cells: Sequence[GridCell], speeds: Speeds
) -> list[CellEstimate]:
    """The estimate of every cell, in order; a cell that is done or cannot run takes nothing."""
    seed = measured_seed([cell.key.seed for cell in cells])
    found = []
    for cell in cells:
        if cell.state == "done" or not cell.can_run:
            found.append(CellEstimate())
            continue
        speed = _speed(cell.key, speeds)
        if speed is None:
            found.append(CellEstimate(training_s=None, measuring_s=None))
            continue
        training = 0.0
        if cell.state != "to measure":
            training = _training_s(template, dataset, cell.key, speed)
        measuring, processes = 0.0, 0
        if cell.key.seed == seed:
            measuring, processes = _measuring_s(template, dataset, cell.key, speed)
        found.append(
            CellEstimate(
                training_s=training,
                measuring_s=measuring,
                processes=processes,
                source=speed.source,
            )
        )
    return found


def _speed(key: CellKey, speeds: Speeds) -> Speed | None:
    found = speeds.of(key)
    if found is None and key.backend == "numpy":
        return Speed(inference_s=NUMPY_SECONDS, training_s=0.0, source="scaled")
    return found


def _training_s(template: Job, dataset: DatasetMeta, key: CellKey, speed: Speed) -> float:
    """Training, if the cell trains by itself, and scoring."""
    protocol = template.protocol
    settings = protocol.training_of(key.network)
    inference = speed.inference_s or 0.0
    tests = _test_slices(template, dataset)
    seconds = PROCESS_SECONDS + tests * (EXACT_OF_INFERENCE * inference + SCORE_SECONDS)
    donor = settings.weights_from
    carried = donor not in ("own", key.backend) and registry.network(key.network).implements(donor)
    if carried or key.backend == "numpy":
        return seconds
    slices = dataset.sets["train"].slices if "train" in dataset.sets else 0
    if "val" in dataset.sets:
        validation = dataset.sets["val"].slices
    else:
        validation = round(settings.validation_share * slices)
        slices -= validation
    epoch = slices * (speed.training_s or 0.0) + validation * inference
    return seconds + settings.epochs * epoch


def _test_slices(template: Job, dataset: DatasetMeta) -> int:
    sets = template.protocol.evaluation.sets
    return sum(dataset.sets[name].slices for name in sets if name in dataset.sets)


def _measuring_s(
    template: Job, dataset: DatasetMeta, key: CellKey, speed: Speed
) -> tuple[float, int]:
    """Seconds and processes of what is left to measure of a cell; the first scores its plan."""
    settings = template.protocol.measuring
    stored = store.find_usable(template.results, template.machine, key)
    record = stored.record if stored and is_accurate(stored.record) else None
    default = plans.default(PLANS[key.backend], template.device)
    seconds, processes = 0.0, 0
    for plan in template.execution_plans(key.backend):
        asked = entries.conditions(plan.key, plan.precision, settings)
        parts = _parts(record, plan, template)
        processes += parts
        per_image = speed.inference_s if plan == default else None
        per_image = per_image or speed.plans.get(plan.key) or speed.inference_s or 0.0
        seconds += parts * _process_s(template, plan, asked, per_image)
        if parts and template.device in plan.devices:
            seconds += _test_slices(template, dataset) * (per_image + SCORE_SECONDS)
    return seconds, processes


def _parts(record: Record | None, plan: Plan, template: Job) -> int:
    if record is None:
        return profile(template.protocol.measuring.profile).processes
    return len(missing_parts(template, record, plan))


def _process_s(template: Job, plan: Plan, asked: Sequence[Condition], per_image: float) -> float:
    """One process that measures one plan under all conditions."""
    if template.device not in plan.devices:
        return PROCESS_SECONDS
    chosen = profile(template.protocol.measuring.profile)
    seconds = PROCESS_SECONDS
    for condition in asked:
        query = condition.batch * per_image
        queries, least = chosen.least(condition.batch, chosen.processes)
        warm_up = max(chosen.warm_up_s, chosen.warm_up_calls * query)
        seconds += PREPARE_SECONDS + min(warm_up, max(chosen.warm_up_limit_s, query))
        seconds += max(queries * query, least)
    return seconds


def sentences(
    cells: Sequence[GridCell], found: Sequence[CellEstimate], speeds: Speeds
) -> list[str]:
    """Totals, the estimate with its spread, and what it rests on."""
    states = Counter(cell.state for cell in cells)
    lines = [f"{len(cells)} cells: {', '.join(f'{n} {state}' for state, n in states.items())}."]
    due = [(cell, one) for cell, one in zip(cells, found, strict=True) if one.source]
    unknown = sum(one.training_s is None for one in found)
    if unknown:
        why = f" ({speeds.probe_reason.rstrip('.')})" if speeds.probe_reason else ""
        lines.append(
            f"No estimate of {unknown} cells: no record of this machine tells of them, and no probe"
            f"{why}."
        )
    if not due:
        return lines if unknown else [*lines, "Nothing to do."]
    training = sum(one.training_s or 0.0 for _, one in due)
    measuring = sum(one.measuring_s or 0.0 for _, one in due)
    low = sum(_total(one) / SPREAD[one.source] for _, one in due if one.source)
    high = sum(_total(one) * SPREAD[one.source] for _, one in due if one.source)
    processes = sum(one.processes for _, one in due)
    lines.append(
        f"Estimated: {duration(training)} of training and scoring, {duration(measuring)} of "
        f"measuring ({processes} processes): {duration(training + measuring)}, by the spread of "
        f"what is known {duration(low)} to {duration(high)}."
    )
    return [*lines, _basis(Counter(one.source for _, one in due if one.source), speeds)]


def _total(one: CellEstimate) -> float:
    return (one.training_s or 0.0) + (one.measuring_s or 0.0)


def _basis(sources: Counter[Source], speeds: Speeds) -> str:
    probed = " and ".join(speeds.probed)
    words: dict[Source, str] = {
        "record": "by records of this machine",
        "probe": f"by a few steps of {probed} just now",
        "scaled": "scaled by FLOPs from others of its framework",
        "other framework": "taken from another framework",
    }
    parts = [
        f"{sources[source]} cells {words[source]} (within × {SPREAD[source]:g})"
        for source in words
        if sources[source]
    ]
    doubts = [f"Note: {speeds.busy}."] if speeds.busy else []
    return " ".join([f"It rests on: {'; '.join(parts)}.", *doubts])


def duration(seconds: float) -> str:
    """Seconds in words: 40 s, 25 min, 7.5 h, 30 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f} min"
    hours = seconds / 3600
    return f"{hours:.1f} h" if hours < 10 else f"{hours:.0f} h"
