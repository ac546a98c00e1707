"""Doing the cells of one job: each is trained, evaluated and measured, and has its record."""

from __future__ import annotations

import time
import traceback

from backends.contract import Network, Runtime
from backends.errors import (
    BackendError,
    MissingFramework,
    NoDevice,
    Unsupported,
    is_out_of_memory,
)
from harness import registry
from harness.data.catalogue import open_dataset
from harness.data.description import read_meta
from harness.data.normalisation import warning
from harness.errors import EnvironmentFault, FetalbenchError
from harness.jobs import events
from harness.jobs.events import Report
from harness.jobs.job import Job
from harness.jobs.recording import NO_DEVICE, make_record
from harness.measuring import cost, memory
from harness.measuring.memory import ImportBaseline, Meter
from harness.records import store
from harness.records.schema import WHILE_MEASURING, CellKey, Status
from harness.records.sentences import plain
from harness.worker.checkpoint import checkpoint_of
from harness.worker.evaluation import evaluate
from harness.worker.gallery import gallery
from harness.worker.pulse import Pulse
from harness.worker.replay import replay
from harness.worker.state import Outcome, Stopped, Worker
from harness.worker.timing import measure
from harness.worker.training import Diverged
from harness.worker.weights import find_weights, restore


class Poisoned(Exception):
    """The record stands, but the process must not serve another cell (out of memory, CUDA)."""


def run_job(job: Job, report: Report) -> None:
    """Do all cells of the job.

    Raises `Stopped` after an interruption, `Poisoned` after an error that the process does not
    survive, and the errors of a job that cannot be done at all.
    """
    try:
        backend = registry.load_backend(job.backend)(
            Runtime(device=job.device, threads=job.threads, deterministic=job.deterministic)
        )
    except (Unsupported, MissingFramework) as error:
        want = NO_DEVICE if isinstance(error, NoDevice) else ""
        _record_unsupported(job, f"{want}{error}", report)
        return
    baseline = ImportBaseline()
    shared = len(job.cells) > 1 or job.shares_process
    worker = Worker(
        job=job,
        backend=backend,
        dataset=open_dataset(job.dataset),
        meter=Meter(backend, baseline, job.device, shared=shared),
        report=report,
    )
    for cell in job.cells:
        with store.lock(job.results, job.machine, cell) as held:
            if held:
                report(events.CellStarted(cell=cell))
                _do_cell(worker, cell)
            else:
                report(events.CellBusy(cell=cell))


def _record_unsupported(job: Job, reason: str, report: Report) -> None:
    """The framework or its device is missing: each cell says so, and those of others are run."""
    meta = read_meta(job.dataset)
    for cell in job.cells:
        report(events.CellStarted(cell=cell))
        with store.lock(job.results, job.machine, cell) as held:
            stored = store.find_usable(job.results, job.machine, cell)
            if held and (stored is None or stored.record.status == "unsupported"):
                record = make_record(job, cell, meta, status="unsupported", reason=reason)
                store.commit(job.results, record)
        report(events.CellDone(cell=cell, status="unsupported"))


def _do_cell(worker: Worker, cell: CellKey) -> None:
    job = worker.job
    stored = worker.find(cell)
    trains = bool({"train", "evaluate"} & set(job.stages))
    network, status = None, "ok"
    if stored is None or (trains and (job.force or stored.record.status != "ok")):
        # Another process may have finished the cell since it was planned.
        network, status = _make_record(worker, cell)
    elif "evaluate" in job.stages and stored.record.scores:
        # It may be missing or damaged beside a sound record.
        _keep_gallery(worker, cell)
    if status == "ok":
        status = _add_to_record(worker, cell, network)
    worker.report(events.CellDone(cell=cell, status=status))
    if worker.poisoned or status in ("oom", "crashed"):
        raise Poisoned


def _make_record(worker: Worker, cell: CellKey) -> tuple[Network | None, Status]:
    """Train and evaluate as the job says, and commit what came of it."""
    start = time.perf_counter()
    outcome = Outcome()
    network = None
    try:
        network = _do_stages(worker, cell, outcome)
        status, reason = "ok", None
    except (Stopped, EnvironmentFault):
        # Neither is the cell's doing: what stood before stays.
        raise
    except Exception as error:
        status, reason = _judge(error)
        # Scores of a cell that failed are nobody's: what comes after scoring belongs to it.
        outcome.scores = {}
        traceback.print_exc()
    peaks = {"parameters_bytes": memory.parameters(outcome.specs), **worker.meter.peaks()}
    record = make_record(
        worker.job,
        cell,
        worker.dataset.meta,
        status=status,
        reason=reason,
        versions=worker.backend.versions(),
        seconds=time.perf_counter() - start,
        cost=outcome.cost,
        cost_reason=outcome.cost_reason,
        training=outcome.training,
        scores=outcome.scores,
        memory=memory.recorded(peaks),
        notes=outcome.notes,
    )
    store.commit(worker.job.results, record, outcome.tables, outcome.blobs)
    if status == "ok":
        checkpoint_of(worker.job, cell).remove()
    return network, status


def _add_to_record(worker: Worker, cell: CellKey, network: Network | None) -> Status:
    """Measure and replay as the job says; the record gains each result as it comes."""
    job = worker.job
    if not job.measures(cell) and "stream" not in job.stages:
        return "ok"
    try:
        network = network or restore(worker, cell)
        if job.measures(cell):
            measure(worker, cell, network)
        if "stream" in job.stages:
            replay(worker, cell, network)
        return "ok"
    except (Stopped, EnvironmentFault):
        raise
    except Exception as error:
        traceback.print_exc()
        status, reason = _judge(error)
        stored = worker.stored(cell)
        update = {"status": status, "reason": f"{WHILE_MEASURING}{reason}"}
        store.commit(job.results, stored.record.model_copy(update=update), keep=stored)
        return status


def _judge(error: Exception) -> tuple[Status, str]:
    """The status that an exception becomes, and its sentence."""
    text = plain(str(error)) or type(error).__name__
    if isinstance(error, Diverged):
        return "diverged", text
    if isinstance(error, Unsupported):
        return "unsupported", text
    if isinstance(error, FetalbenchError | BackendError):
        return "invalid", text
    if is_out_of_memory(error):
        return "oom", f"out of memory: {text}"
    return "crashed", f"{type(error).__name__}: {text}"


def _do_stages(worker: Worker, cell: CellKey, outcome: Outcome) -> Network:
    job, dataset = worker.job, worker.dataset
    network = worker.build(cell)
    outcome.specs = network.weight_specs()
    _count(worker, network, outcome)
    if message := warning(job.protocol.input.normalisation):
        outcome.notes.append(message)
    if outcome.specs:
        find_weights(worker, cell, network, outcome)
    if "evaluate" in job.stages:
        worker.report(events.StageStarted(stage="evaluate"))
        evaluated = evaluate(network, dataset, job.protocol, Pulse(worker.report))
        outcome.scores = evaluated.scores
        outcome.tables[store.SLICES] = evaluated.slices
        outcome.tables[store.PREDICTIONS] = evaluated.predictions
        _keep_gallery(worker, cell)
    return network


def _keep_gallery(worker: Worker, cell: CellKey) -> None:
    job = worker.job
    store.write_gallery(
        job.results, job.machine, cell, lambda: gallery(worker.dataset, job.protocol)
    )


def _count(worker: Worker, network: Network, outcome: Outcome) -> None:
    if not worker.backend.capabilities.counts_operations:
        outcome.cost_reason = f"{worker.backend.title} does not count operations"
        return
    outcome.cost, why = cost.of(network)
    outcome.cost_reason = why or None
