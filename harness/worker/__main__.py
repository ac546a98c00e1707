"""The worker process: does the cells of one job, and commits one record for each.

Started as `python -m harness.worker JOB.json EVENTS_FD` in its own session. Progress goes to the
parent as JSON lines on the events descriptor, since frameworks print what they like elsewhere.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from backends.contract import Backend, Network, Runtime
from backends.errors import (
    BackendError,
    MissingFramework,
    NoDevice,
    Unsupported,
    is_out_of_memory,
)
from harness import registry
from harness.data.catalogue import open_dataset
from harness.data.normalisation import warning
from harness.errors import EXIT_INTERRUPTED, EnvironmentFault, FetalbenchError
from harness.jobs.job import Job
from harness.jobs.recording import NO_DEVICE, make_record
from harness.measuring import entries as cell_latency
from harness.measuring.cost import count
from harness.measuring.memory import ImportBaseline, Meter, parameters, recorded
from harness.measuring.session import find_plans
from harness.records import store as records
from harness.records.schema import CellKey, Status
from harness.worker.evaluation import evaluate
from harness.worker.gallery import gallery
from harness.worker.state import Report, Worker
from harness.worker.timing import measure, replay
from harness.worker.training import Diverged, Stopped
from harness.worker.weights import Outcome, checkpoint_of, find_weights


class Poisoned(Exception):
    """The record stands, but the process must not go on (out of memory, CUDA error)."""


def run_job(job: Job, report: Report) -> None:
    """Do all cells of the job. Raises `Stopped` after an interruption, `UsageError`."""
    try:
        backend = registry.load_backend(job.backend)(
            Runtime(device=job.device, threads=job.threads, deterministic=True)
        )
    except (Unsupported, MissingFramework) as error:
        want = NO_DEVICE if isinstance(error, NoDevice) else ""
        _record_unsupported(job, f"{want}{error}", report)
        return
    baseline = ImportBaseline()
    find_plans(backend, job.plans, job.device)
    shared = len(job.cells) > 1 or job.protocol.limits.share_process
    worker = Worker(
        job=job,
        backend=backend,
        dataset=open_dataset(job.dataset),
        meter=Meter(backend, baseline, job.device, shared=shared),
        report=report,
    )
    for cell in job.cells:
        with records.lock(job.results, job.machine, cell) as held:
            if held:
                report({"event": "start", "network": cell.network, "seed": cell.seed})
                _do_cell(worker, cell)
            else:
                report({"event": "busy", "network": cell.network, "seed": cell.seed})


def _record_unsupported(job: Job, reason: str, report: Report) -> None:
    """The framework is here and the device is not: each cell says so, the others go on."""
    dataset = open_dataset(job.dataset)
    for cell in job.cells:
        with records.lock(job.results, job.machine, cell) as held:
            stored = records.find_usable(job.results, job.machine, cell)
            if held and (stored is None or stored.record.status == "unsupported"):
                record = make_record(
                    job, cell, dataset, status="unsupported", reason=reason, versions={}
                )
                records.commit(job.results, record)
        named = {"network": cell.network, "seed": cell.seed}
        report({"event": "start", **named})
        report({"event": "done", **named, "status": "unsupported"})


def _do_cell(worker: Worker, cell: CellKey) -> None:
    job, named = worker.job, {"network": cell.network, "seed": cell.seed}
    stored = worker.find(cell)
    trains = bool({"train", "evaluate"} & set(job.stages))
    network, status = None, "ok"
    if stored is None or (trains and (job.force or stored.record.status != "ok")):
        # Another process may have finished the cell since it was planned.
        network, status = _make_record(worker, cell)
    if status == "ok":
        status = _add_to_record(worker, cell, network)
    worker.report({"event": "done", **named, "status": status})
    if worker.poisoned or status in ("oom", "crashed"):
        raise Poisoned


def _make_record(worker: Worker, cell: CellKey) -> tuple[Network | None, Status]:
    """Train and evaluate as the job says, and commit what came of it."""
    job, backend = worker.job, worker.backend
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
        traceback.print_exc()
    record = make_record(
        job,
        cell,
        worker.dataset,
        status=status,
        reason=reason,
        versions=backend.versions(),
        seconds=time.perf_counter() - start,
        memory=recorded({"parameters_bytes": parameters(outcome.specs), **worker.meter.peaks()}),
        notes=outcome.notes,
        **outcome.fields,
    )
    records.commit(job.results, record, outcome.tables, outcome.blobs)
    if status == "ok":
        checkpoint_of(job, cell).remove()
    return network, status


def _add_to_record(worker: Worker, cell: CellKey, network: Network | None) -> Status:
    """Measure and replay as the job says; the record gains each result as it comes."""
    job = worker.job
    if not job.measures(cell) and "stream" not in job.stages:
        return "ok"
    try:
        network = network or worker.rebuild(cell)
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
        update = {"status": status, "reason": f"{cell_latency.WHILE_MEASURING}{reason}"}
        records.commit(job.results, stored.record.model_copy(update=update), keep=stored)
        return status


def _judge(error: Exception) -> tuple[Status, str]:
    """The status that an exception becomes, and its sentence."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, Diverged):
        return "diverged", text
    if isinstance(error, Unsupported):
        return "unsupported", text
    if isinstance(error, FetalbenchError | BackendError):
        return "invalid", text
    if is_out_of_memory(error):
        return "oom", f"out of memory: {text.splitlines()[0]}"
    return "crashed", f"{type(error).__name__}: {text.splitlines()[0]}"


def _do_stages(worker: Worker, cell: CellKey, outcome: Outcome) -> Network:
    job, report = worker.job, worker.report
    network = worker.build(cell)
    outcome.specs = network.weight_specs()
    _count(worker.backend, network, outcome)
    if message := warning(job.protocol.input.normalisation):
        outcome.notes.append(message)
    if outcome.specs:
        find_weights(job, cell, worker.backend, network, worker.dataset, outcome, report)
    if "evaluate" in job.stages:
        report({"event": "stage", "stage": "evaluate"})
        evaluated = evaluate(network, worker.dataset, job.protocol)
        outcome.fields["scores"] = evaluated.scores
        outcome.tables["slices.parquet"] = evaluated.slices
        outcome.tables["predictions.parquet"] = evaluated.predictions
        records.write_gallery(
            job.results, job.machine, cell, lambda: gallery(worker.dataset, job.protocol)
        )
    return network


def _count(backend: Backend, network: Network, outcome: Outcome) -> None:
    if not backend.capabilities.counts_operations:
        outcome.fields["cost_reason"] = f"{backend.title} does not count operations"
        return
    try:
        outcome.fields["cost"] = count(network.operations(), network.weight_specs())
    except Unsupported as error:
        outcome.fields["cost_reason"] = str(error)


def main() -> int:
    """Read the job, do it, say how it went through the exit code alone."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    with os.fdopen(int(sys.argv[2]), "w", buffering=1) as events:

        def report(event: dict[str, Any]) -> None:
            try:
                events.write(json.dumps(event, allow_nan=False) + "\n")
            except BrokenPipeError:
                # The parent is gone, and with it whoever would hold this process to its limits.
                raise Stopped from None

        try:
            run_job(job, report)
        except Stopped:
            return EXIT_INTERRUPTED
        except Poisoned:
            return 0
        except (FetalbenchError, BackendError) as error:
            report({"event": "fault", "reason": str(error), "exit_code": error.exit_code})
            return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
