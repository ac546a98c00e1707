"""Measuring latency and memory of one cell in its worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backends import plans
from backends.contract import Array, Network
from harness.data.preparation import prepare
from harness.jobs import events
from harness.jobs.timing_code import timing_code
from harness.measuring import entries, machine, timing_run
from harness.measuring.latency import Measurement, no_samples
from harness.measuring.summary import gather
from harness.records import store
from harness.records.schema import WHILE_MEASURING, CellKey, Condition
from harness.worker.calibration import calibrate
from harness.worker.plan_accuracy import score_plans
from harness.worker.pulse import Pulse
from harness.worker.state import Worker

TIMED_SLICES = 64


def measure(worker: Worker, cell: CellKey, network: Network) -> None:
    """Time what the record lacks, then score it: each result is committed before the next."""
    job = worker.job
    images, asked = _timed_images(worker), job.execution_plans(cell.backend)
    calibrated = calibrate(worker, network, asked, cell.seed, images)
    if not job.part:
        _note(worker, cell, [*machine.state(), *filter(None, [calibrated])])
    before = worker.stored(cell).record.latency
    code, lost = timing_code(cell), False
    default = plans.default(worker.backend.capabilities.plans, job.device)

    def begin(condition: Condition) -> bool:
        due = entries.is_due(entries.find(before, condition), job.part, force=job.force, code=code)
        if due:
            is_default = condition.plan == default.key
            worker.report(events.MeasuringStarted(condition=condition, default=is_default))
        return due

    for found in timing_run.measure_network(
        worker.backend,
        network,
        images,
        plans=asked,
        settings=job.protocol.measuring,
        seed=cell.seed,
        device=job.device,
        process=job.part,
        processes=job.parts,
        deterministic=job.deterministic,
        meter=worker.meter,
        pulse=Pulse(worker.report),
        begin=begin,
    ):
        if found.lost_device:
            _commit_lost(worker, cell, found)
        else:
            _commit(worker, cell, found)
        lost |= found.lost_device
        worker.poisoned |= lost or (found.status == "oom" and job.device == "cuda")
    if not job.part and not lost:
        score_plans(worker, cell, network)


def _note(worker: Worker, cell: CellKey, found: Sequence[str]) -> None:
    stored = worker.stored(cell)
    notes = list(dict.fromkeys([*stored.record.notes, *found]))
    record = stored.record.model_copy(update={"notes": notes})
    store.commit(worker.job.results, record, keep=stored)


def _timed_images(worker: Worker) -> Array:
    """Slices (n, h, w, 1) of a test set if there is one."""
    dataset, protocol = worker.dataset, worker.job.protocol
    name = next(name for name in ("normal", "challenging", "train") if name in dataset.meta.sets)
    # More than one batch: a backend that remembers its input must not look fast.
    rows = dataset.rows(name).iloc[: max(TIMED_SLICES, *protocol.measuring.batches)]
    images, _ = prepare(dataset, rows, **protocol.input.model_dump(exclude={"classes"}))
    return images


def _commit_lost(worker: Worker, cell: CellKey, found: Measurement) -> None:
    """The device is lost to this process: what it did not come to is skipped, as if it had died."""
    stored, job = worker.stored(cell), worker.job
    latency = entries.lost(
        stored.record.latency,
        found.condition,
        default=found.default,
        settings=job.protocol.measuring,
        part=job.part,
        status="crashed",
        reason=f"{' '.join(found.reasons)} (the device was lost, and the process ended).",
    )
    record = stored.record.model_copy(update={"latency": latency})
    store.commit(job.results, record, keep=stored)


def _commit(worker: Worker, cell: CellKey, found: Measurement) -> None:
    """Commit the record with a measurement beside those of earlier processes."""
    stored = worker.stored(cell)
    record = stored.record
    samples = stored.latency_samples() if store.LATENCY in record.files else no_samples()
    code = timing_code(cell)
    latency, table = gather(record.latency, samples, found, worker.job.device, code)
    update: dict[str, Any] = {"latency": latency}
    if (record.reason or "").startswith(WHILE_MEASURING):
        update |= {"status": "ok", "reason": None}
    changed = record.model_copy(update=update)
    store.commit(worker.job.results, changed, {store.LATENCY: table}, keep=stored)
