"""The worker process: does the cells of one job, and commits one record for each.

Started as `python -m harness.cell JOB.json EVENTS_FD` in its own session. Progress goes to the
parent as JSON lines on the events descriptor, since frameworks print what they like elsewhere.
"""

from __future__ import annotations

import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from backends.contract import (
    Backend,
    BackendError,
    Network,
    Runtime,
    Unsupported,
    is_out_of_memory,
)
from harness import records, registry, remeasuring
from harness.cell_record import make_record
from harness.cell_weights import Outcome, checkpoint_of, find_weights
from harness.data.catalogue import Dataset, open_dataset
from harness.data.normalisation import warning
from harness.data.preparation import prepare
from harness.errors import EXIT_INTERRUPTED, FetalbenchError
from harness.evaluation import evaluate
from harness.gallery import gallery
from harness.job import Job
from harness.measuring.cost import count
from harness.measuring.machine import state
from harness.measuring.memory import ImportBaseline, quantities
from harness.measuring.session import find_plans, measure_cell
from harness.record_schema import CellKey, Status
from harness.training import (
    Diverged,
    Stopped,
)

Report = Callable[[dict[str, Any]], None]
TIMED_SLICES = 64


class Poisoned(Exception):
    """The record stands, but the process must not go on (out of memory, CUDA error)."""


def run_job(job: Job, report: Report) -> None:
    """Do all cells of the job. Raises `Stopped` after an interruption."""
    baseline = ImportBaseline()
    backend = registry.load_backend(job.backend)(
        Runtime(device=job.device, threads=job.threads, deterministic=True)
    )
    dataset = open_dataset(job.dataset)
    for cell in job.cells:
        with records.lock(job.results, job.machine, cell) as held:
            if held:
                report({"event": "start", "network": cell.network, "seed": cell.seed})
                (_add_samples if job.adds else _run_cell)(
                    job, cell, backend, dataset, baseline, report
                )
            else:
                report({"event": "busy", "network": cell.network, "seed": cell.seed})


def _run_cell(
    job: Job,
    cell: CellKey,
    backend: Backend,
    dataset: Dataset,
    baseline: ImportBaseline,
    report: Report,
) -> None:
    start = time.perf_counter()
    outcome = Outcome()
    try:
        _do_stages(job, cell, backend, dataset, outcome, report)
        status, reason = "ok", None
    except Stopped:
        raise
    except Exception as error:
        status, reason = _judge(error)
        traceback.print_exc()
    record = make_record(
        job,
        cell,
        dataset,
        status=status,
        reason=reason,
        versions=backend.versions(),
        seconds=time.perf_counter() - start,
        memory=quantities(backend, outcome.specs, baseline, job.device, shared=len(job.cells) > 1),
        notes=outcome.notes,
        **outcome.fields,
    )
    records.commit(job.results, record, outcome.tables, outcome.blobs)
    report({"event": "done", "network": cell.network, "seed": cell.seed, "status": status})
    if status == "ok":
        checkpoint_of(job, cell).remove()
    elif status in ("oom", "crashed"):
        raise Poisoned


def _add_samples(
    job: Job,
    cell: CellKey,
    backend: Backend,
    dataset: Dataset,
    baseline: ImportBaseline,
    report: Report,
) -> None:
    """Measure a cell whose record stands already, as one of several processes."""
    start = time.perf_counter()
    stored = records.find_record(job.results, job.machine, cell)
    if stored is None:
        raise FetalbenchError(f"{cell.network} on {cell.backend}: there is no record to add to.")
    outcome = Outcome()
    try:
        network = _build(job, cell, backend)
        if network.weight_specs() and not remeasuring.own_weights(stored, network):
            find_weights(job, cell, backend, network, dataset, outcome, report)
        report({"event": "stage", "stage": f"measure, process {job.part + 1} of {job.parts}"})
        _measure(job, cell, backend, network, dataset, outcome)
    except Exception as error:
        traceback.print_exc()
        status, reason = _judge(error)
        remeasuring.lose(job, cell, status, reason)
        report({"event": "done", "network": cell.network, "seed": cell.seed, "status": status})
        return
    remeasuring.add(
        job,
        stored,
        outcome.fields["latency"],
        outcome.tables["latency.parquet"],
        notes=outcome.notes,
        seconds=(stored.record.seconds or 0) + time.perf_counter() - start,
        memory=stored.record.memory
        if job.part
        else quantities(backend, network.weight_specs(), baseline, job.device),
    )
    report({"event": "done", "network": cell.network, "seed": cell.seed, "status": "ok"})


def _judge(error: Exception) -> tuple[Status, str]:
    """The status that an exception becomes, and its sentence."""
    text = str(error).strip() or type(error).__name__
    if isinstance(error, Diverged):
        return "diverged", text
    if isinstance(error, Unsupported | NotImplementedError):
        return "unsupported", text
    if isinstance(error, FetalbenchError | BackendError):
        return "invalid", text
    if is_out_of_memory(error):
        return "oom", f"out of memory: {text.splitlines()[0]}"
    return "crashed", f"{type(error).__name__}: {text.splitlines()[0]}"


def _do_stages(
    job: Job,
    cell: CellKey,
    backend: Backend,
    dataset: Dataset,
    outcome: Outcome,
    report: Report,
) -> None:
    network = _build(job, cell, backend)
    outcome.specs = network.weight_specs()
    _count(backend, network, outcome)
    if message := warning(job.protocol.input.normalisation):
        outcome.notes.append(message)
    if outcome.specs:
        find_weights(job, cell, backend, network, dataset, outcome, report)
    if "evaluate" in job.stages:
        report({"event": "stage", "stage": "evaluate"})
        evaluated = evaluate(network, dataset, job.protocol)
        outcome.fields["scores"] = evaluated.scores
        outcome.tables["slices.parquet"] = evaluated.slices
        outcome.tables["predictions.parquet"] = evaluated.predictions
        records.write_gallery(
            job.results, job.machine, cell, lambda: gallery(dataset, job.protocol)
        )
    if "measure" in job.stages:
        report({"event": "stage", "stage": "measure"})
        _measure(job, cell, backend, network, dataset, outcome)


def _build(job: Job, cell: CellKey, backend: Backend) -> Network:
    chosen = job.protocol.input
    return backend.build(
        registry.load_builder(registry.network(cell.network), cell.backend),
        classes=chosen.classes,
        height=chosen.height,
        width=chosen.width,
    )


def _count(backend: Backend, network: Network, outcome: Outcome) -> None:
    if not backend.capabilities.counts_operations:
        outcome.fields["cost_reason"] = f"{backend.title} does not count operations"
        return
    try:
        outcome.fields["cost"] = count(network.operations(), network.weight_specs())
    except Unsupported as error:
        outcome.fields["cost_reason"] = str(error)


def _measure(
    job: Job,
    cell: CellKey,
    backend: Backend,
    network: Network,
    dataset: Dataset,
    outcome: Outcome,
) -> None:
    settings = job.protocol.measuring
    name = next(name for name in ("normal", "challenging", "train") if name in dataset.meta.sets)
    rows = dataset.rows(name)
    # More than one batch: a backend that remembers its input must not look fast.
    rows = rows.iloc[: max(TIMED_SLICES, *settings.batches)]
    images, _ = prepare(dataset, rows, **job.protocol.input.model_dump(exclude={"classes"}))
    outcome.notes += state()
    summaries, samples = measure_cell(
        network,
        images,
        plans=find_plans(backend, settings.plans.get(cell.backend, ()), job.device),
        quantities=settings.quantities,
        batches=settings.batches,
        profile=settings.profile,
        seed=cell.seed,
        backend=backend,
        device=job.device,
        process=job.part,
        processes=max(1, job.parts),
        note=outcome.notes.append,
    )
    outcome.fields["latency"] = summaries
    outcome.fields["measured_by"] = 1
    outcome.tables["latency.parquet"] = samples


def main() -> int:
    """Read the job, do it, say how it went through the exit code alone."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_bytes())
    with os.fdopen(int(sys.argv[2]), "w", buffering=1) as events:

        def report(event: dict[str, Any]) -> None:
            events.write(json.dumps(event, allow_nan=False) + "\n")

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
