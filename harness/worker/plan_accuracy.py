"""Scoring the test sets under each execution plan that was timed, as MLPerf's accuracy run does."""

from __future__ import annotations

import traceback
from collections.abc import Callable

import numpy as np
import pandas as pd

from backends.contract import Array, Network
from backends.errors import Unsupported, is_out_of_memory
from backends.plans import Plan
from backends.weights import digest
from harness.data.preparation import prepare
from harness.errors import DataError, EnvironmentFault, FetalbenchError
from harness.jobs import events
from harness.measuring import accuracy, entries
from harness.metrics import score_slices
from harness.records import store
from harness.records.schema import NOT_SCORED, CellKey, PlanAccuracy, Status
from harness.worker.evaluation import Evaluated, evaluate, on_original_grid, references
from harness.worker.pulse import Pulse
from harness.worker.state import Stopped, Worker


def score_plans(worker: Worker, cell: CellKey, network: Network) -> None:
    """Score what the record lacks; each plan is committed before the next begins."""
    job = worker.job
    record = worker.stored(cell).record
    if not record.scores and job.weights is None:
        _note(worker, cell, "these are starting weights, name trained ones with --weights.")
        return
    weights = digest(network.weights())
    asked = [
        plan
        for plan in job.execution_plans(cell.backend)
        if entries.scoring_is_due(record, plan.key, plan.precision, weights, force=job.force)
    ]
    if not asked:
        return
    try:
        reference = _reference(worker, cell, network, weights)
    except (Stopped, EnvironmentFault):
        raise
    except FetalbenchError as error:
        for plan in asked:
            blank = _entry(worker, plan, weights)
            _commit(worker, cell, blank.model_copy(update=_failure("unsupported", str(error))))
        return
    for plan in asked:
        _score(worker, cell, network, _entry(worker, plan, weights), reference)


def _note(worker: Worker, cell: CellKey, why: str) -> None:
    stored = worker.stored(cell)
    others = [note for note in stored.record.notes if not note.startswith(NOT_SCORED)]
    record = stored.record.model_copy(update={"notes": [*others, f"{NOT_SCORED}{why}"]})
    store.commit(worker.job.results, record, keep=stored)


def _reference(worker: Worker, cell: CellKey, network: Network, weights: str) -> Evaluated:
    """Masks and scores in float64: of the record, if its weights are these, else made and kept."""
    stored = worker.stored(cell)
    record = stored.record
    own = {one.weights_sha256 for one in record.accuracy}
    if record.training is not None:
        own.add(record.training.weights_sha256)
    if record.scores and not own and worker.job.weights is not None:
        raise DataError(
            "the record holds scores of weights that it does not name: choose another folder with "
            "--results."
        )
    if store.PREDICTIONS in record.files and (own == {weights} or (record.scores and not own)):
        return Evaluated(slices=stored.slices(), predictions=stored.predictions())
    found = evaluate(network, worker.dataset, worker.job.protocol, Pulse(worker.report))
    notes = [note for note in record.notes if not note.startswith(NOT_SCORED)]
    # What was scored with other weights is gone with their masks.
    changed = record.model_copy(update={"accuracy": [], "notes": notes})
    tables = {store.SLICES: found.slices, store.PREDICTIONS: found.predictions}
    tables[store.PLAN_SLICES] = found.slices.iloc[:0]
    store.commit(worker.job.results, changed, tables, keep=stored)
    return found


def _entry(worker: Worker, plan: Plan, weights: str) -> PlanAccuracy:
    """The entry of a plan before it is scored: by the query that is timed."""
    settings = worker.job.protocol.measuring
    return PlanAccuracy(
        plan=plan.key,
        precision=plan.precision,
        status="ok",
        quantity="end_to_end" if "end_to_end" in settings.quantities else "forward",
        batch=min(settings.batches),
        weights_sha256=weights,
    )


def _failure(status: Status, reason: str) -> dict[str, str]:
    return {"status": status, "reason": reason}


def _score(
    worker: Worker,
    cell: CellKey,
    network: Network,
    entry: PlanAccuracy,
    reference: Evaluated,
) -> None:
    worker.report(events.ScoringStarted(entry=entry))
    table = None
    try:
        table = _plan_slices(worker, network, entry, reference)
        entry = entry.model_copy(update={"sets": accuracy.set_scores(table, reference.slices)})
    except (Stopped, EnvironmentFault):
        raise
    except Exception as error:
        traceback.print_exc()
        status = _status(error)
        entry = entry.model_copy(update=_failure(status, _sentence(error)))
        worker.poisoned |= status == "oom" and worker.job.device == "cuda"
    _commit(worker, cell, entry, table)


def _status(error: Exception) -> Status:
    if is_out_of_memory(error):
        return "oom"
    return "unsupported" if isinstance(error, Unsupported) else "crashed"


def _sentence(error: Exception) -> str:
    line = str(error).strip().partition("\n")[0]
    return line if isinstance(error, Unsupported) else f"{type(error).__name__}: {line}"


def _plan_slices(
    worker: Worker, network: Network, entry: PlanAccuracy, reference: Evaluated
) -> pd.DataFrame:
    """The plan's rows of plan_slices.parquet, for the test sets of the reference."""
    protocol, chosen = worker.job.protocol, worker.job.protocol.input
    parts, pulse = [], Pulse(worker.report)
    for name, scored in reference.slices.groupby("set", sort=False):
        rows = worker.dataset.rows(str(name))
        images, _ = prepare(worker.dataset, rows, **chosen.model_dump(exclude={"classes"}))
        masks = on_original_grid(_masks(network, images, entry, pulse), rows, chosen)
        packed = reference.predictions[reference.predictions["set"] == name]["mask"]
        kept = [
            np.unpackbits(np.frombuffer(bits, np.uint8), count=mask.size).reshape(mask.shape) > 0
            for bits, mask in zip(packed, masks, strict=True)
        ]
        changed = [int((a != b).sum()) for a, b in zip(masks, kept, strict=True)]
        table = scored.reset_index(drop=True).copy()
        differs = np.flatnonzero(changed)
        if len(differs):
            # What is pixel for pixel the reference's has its scores.
            again = rows.iloc[differs]
            new = score_slices(
                again,
                references(worker.dataset, again),
                [masks[place] for place in differs],
                protocol.evaluation.nsd_tolerance_mm,
            )
            new.index = pd.Index(differs)
            table.loc[differs, list(new.columns)] = new
        table["changed_pixels"], table["pixels"] = changed, [mask.size for mask in masks]
        parts.append(table)
    found = pd.concat(parts, ignore_index=True)
    return found.assign(plan=entry.plan, precision=entry.precision)


def _masks(
    network: Network, images: Array, entry: PlanAccuracy, pulse: Callable[[], None]
) -> Array:
    """Masks (n, h, w) uint8 of (n, h, w, 1) images by the query that is timed."""
    size = entry.batch
    # The last batch is filled up: a query is for one shape.
    padded = np.concatenate([images, np.repeat(images[-1:], -len(images) % size, axis=0)])
    inference = network.prepare(padded[:size], plan=entry.plan, quantity=entry.quantity)
    parts = []
    for start in range(0, len(padded), size):
        inference.set_images(padded[start : start + size])
        result = inference.launch()
        inference.synchronise(result)
        pulse()
        if entry.quantity == "forward":
            parts.append(inference.logits(result).argmax(-1).astype(np.uint8))
        else:
            # A copy: the next query may write into the same memory.
            parts.append(np.array(result))
        pulse()
    return np.concatenate(parts)[: len(images)]


def _commit(
    worker: Worker, cell: CellKey, entry: PlanAccuracy, table: pd.DataFrame | None = None
) -> None:
    """Commit the record with a plan's accuracy in place of an earlier one."""
    stored = worker.stored(cell)
    record = stored.record
    update = {"accuracy": entries.with_accuracy(record.accuracy, entry)}
    tables = {}
    if table is not None:
        tables[store.PLAN_SLICES] = table
        if store.PLAN_SLICES in record.files and len(old := stored.plan_slices()):
            others = (old["plan"] != entry.plan) | (old["precision"] != entry.precision)
            tables[store.PLAN_SLICES] = pd.concat([old[others], table], ignore_index=True)
    store.commit(worker.job.results, record.model_copy(update=update), tables, keep=stored)
