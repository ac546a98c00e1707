"""The deadline test of one cell in its worker."""

from __future__ import annotations

import time
from dataclasses import asdict

import pandas as pd
import psutil

from backends import plans
from backends.contract import Network
from harness.cores import QuotaWatch
from harness.data.preparation import prepare
from harness.measuring import stream
from harness.measuring.machine import OtherLoad
from harness.records import store
from harness.records.schema import CellKey, Stream
from harness.worker.calibration import calibrate
from harness.worker.state import Worker


def replay(worker: Worker, cell: CellKey, network: Network) -> None:
    """Put one deadline test into the record, with the response to every slice."""
    job = worker.job
    settings = job.stream
    assert settings is not None
    keys = [settings.plan] if settings.plan else []
    (plan,) = plans.chosen(keys, worker.backend.capabilities.plans, job.device)
    slices = worker.dataset.slices
    stack = slices[slices["stack"] == slices["stack"].iloc[0]]
    images, _ = prepare(worker.dataset, stack, **job.protocol.input.model_dump(exclude={"classes"}))
    calibrate(worker, network, [plan], cell.seed, images)
    with OtherLoad() as load, QuotaWatch() as quota:
        found, responses = stream.run(
            lambda: network.prepare(images[:1], plan=plan.key, quantity="end_to_end"),
            images,
            stream.pace(settings.preset),
            slices=settings.slices,
            seed=settings.seed,
            deadline_ms=settings.deadline_ms,
            # From nothing: the process's own start, its imports and the weights are part of it.
            elapsed_ms=1e3 * (time.time() - psutil.Process().create_time()),
        )
    doubts = [doubt for doubt in (load.sentence(), quota.sentence()) if doubt]
    result = Stream(plan=plan.key, seed=settings.seed, doubts=doubts, **asdict(found))
    _commit(worker, cell, result, responses)


def _commit(worker: Worker, cell: CellKey, result: Stream, responses: pd.DataFrame) -> None:
    """Commit the record with the test in place of an earlier one of that plan and pace."""
    stored = worker.stored(cell)
    same = (result.plan, result.preset)
    others = [one for one in stored.record.streams if (one.plan, one.preset) != same]
    table = responses.assign(plan=result.plan, preset=result.preset)
    if others:
        old = stored.stream_responses()
        kept = old[(old["plan"] != result.plan) | (old["preset"] != result.preset)]
        table = pd.concat([kept, table], ignore_index=True)
    record = stored.record.model_copy(update={"streams": [*others, result]})
    store.commit(worker.job.results, record, {store.STREAM: table}, keep=stored)
