"""Measuring one cell in its worker: latency and memory, and the deadline test."""

from __future__ import annotations

import time
from dataclasses import asdict

import pandas as pd
import psutil

from backends.contract import Network
from backends.plans import Plan
from harness.cores import QuotaWatch
from harness.data.preparation import prepare
from harness.measuring import entries as cell_latency
from harness.measuring import stream
from harness.measuring.machine import OtherLoad, state
from harness.measuring.session import default_plan, find_plans, measure_cell
from harness.records import store as records
from harness.records.schema import CellKey, Stream
from harness.worker.state import Worker

TIMED_SLICES = 64
RESPONSES = "stream.parquet"


def measure(worker: Worker, cell: CellKey, network: Network) -> None:
    """Time what the record has not: each measurement is committed before the next begins."""
    job, dataset = worker.job, worker.dataset
    settings = job.protocol.measuring
    name = next(name for name in ("normal", "challenging", "train") if name in dataset.meta.sets)
    # More than one batch: a backend that remembers its input must not look fast.
    rows = dataset.rows(name).iloc[: max(TIMED_SLICES, *settings.batches)]
    images, _ = prepare(dataset, rows, **job.protocol.input.model_dump(exclude={"classes"}))
    stored = worker.stored(cell)
    notes = list(dict.fromkeys([*stored.record.notes, *state()]))
    if not job.part:
        records.commit(job.results, stored.record.model_copy(update={"notes": notes}), keep=stored)
    default = default_plan(worker.backend, job.device).key

    def begin(plan: Plan, quantity: str, batch: int) -> bool:
        wanted = cell_latency.is_wanted(job, stored.record, plan, quantity, batch)
        if wanted:
            what = {"plan": plan.key, "precision": plan.precision, "default": plan.key == default}
            worker.report({"event": "measuring", **what, "quantity": quantity, "batch": batch})
        return wanted

    for found in measure_cell(
        worker.backend,
        network,
        images,
        plans=find_plans(worker.backend, job.plans, job.device),
        quantities=settings.quantities,
        batches=settings.batches,
        profile=settings.profile,
        seed=cell.seed,
        device=job.device,
        process=job.part,
        processes=job.parts,
        meter=worker.meter,
        begin=begin,
    ):
        cell_latency.add(job, cell, found)
        worker.poisoned |= found.status == "oom" and job.device == "cuda"


def replay(worker: Worker, cell: CellKey, network: Network) -> None:
    """Put one deadline test into the record, with the response of every slice."""
    job = worker.job
    settings = job.stream
    assert settings is not None
    (plan,) = find_plans(worker.backend, [settings.plan] if settings.plan else [], job.device)
    slices = worker.dataset.slices
    stack = slices[slices["stack"] == slices["stack"].iloc[0]]
    images, _ = prepare(worker.dataset, stack, **job.protocol.input.model_dump(exclude={"classes"}))
    with OtherLoad() as load, QuotaWatch() as quota:
        found, responses = stream.run(
            lambda: network.prepare(images[:1], plan=plan.key, quantity="end_to_end"),
            images,
            stream.preset(settings.preset),
            slices=settings.slices,
            seed=settings.seed,
            deadline_ms=settings.deadline_ms,
            # From nothing: the process's own start, its imports and the weights are part of it.
            elapsed_ms=1e3 * (time.time() - psutil.Process().create_time()),
        )
    doubts = [doubt for doubt in (load.sentence(), quota.sentence()) if doubt]
    result = Stream(plan=plan.key, seed=settings.seed, doubts=doubts, **asdict(found))
    stored = worker.stored(cell)
    same = (result.plan, result.preset)
    others = [one for one in stored.record.streams if (one.plan, one.preset) != same]
    table = responses.assign(plan=plan.key, preset=result.preset)
    if others:
        old = stored.table(RESPONSES)
        kept = old[(old["plan"] != result.plan) | (old["preset"] != result.preset)]
        table = pd.concat([kept, table], ignore_index=True)
    record = stored.record.model_copy(update={"streams": [*others, result]})
    records.commit(job.results, record, {RESPONSES: table}, keep=stored)
