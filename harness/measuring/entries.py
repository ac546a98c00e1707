"""The latencies of a cell's record: which are missing, and how each finds its way in.

A record gains one (plan, quantity, batch) after the other, from one fresh process or several
(measuring, 6); all else in it stays as it is, to the byte. So nothing that was measured is lost
with a process that runs out of memory or time, and an interrupted run goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from backends.contract import Array, Network
from backends.plans import Plan
from backends.weights import read_weights
from harness.jobs.job import Job
from harness.measuring import gates
from harness.measuring.profiles import profile
from harness.protocol import Measuring
from harness.records import store as records
from harness.records.schema import CellKey, Latency, Record, Status
from harness.records.store import StoredRecord

if TYPE_CHECKING:
    import pandas as pd

    # Its tables need pandas, which the parent process does without.
    from harness.measuring.latency import Measurement

WEIGHTS = "weights.safetensors"
SAMPLES = "latency.parquet"
# What a second try may mend. A plan that is not had and a batch that does not fit are results.
RETRIED = ("timeout", "crashed", "invalid")
WHILE_MEASURING = "while measuring: "


def missing_parts(record: Record, plan: str, settings: Measuring) -> list[int]:
    """Numbers of the processes that have yet to measure a plan ("": the default) of a record."""
    parts = done = profile(settings.profile).processes
    for quantity in settings.quantities:
        for batch in settings.batches:
            entry = _entry(record, plan, quantity, batch)
            if entry is None:
                done = 0
            elif entry.status in ("ok", *RETRIED):
                done = min(done, entry.processes)
    return list(range(done, parts))


def _entry(record: Record, plan: str, quantity: str, batch: int) -> Latency | None:
    return next(
        (
            entry
            for entry in record.latency
            if (entry.plan == plan if plan else entry.default)
            and (entry.quantity, entry.batch) == (quantity, batch)
        ),
        None,
    )


def is_wanted(job: Job, record: Record, plan: Plan, quantity: str, batch: int) -> bool:
    """Whether process `job.part` has yet to make a measurement."""
    entry = _entry(record, plan.key, quantity, batch)
    if entry is None or (job.force and job.part == 0):
        return job.part == 0
    return entry.status in ("ok", *RETRIED) and entry.processes == job.part


def own_weights(stored: StoredRecord, network: Network) -> bool:
    """Load the weights that the cell has trained itself; False where they are not here."""
    training = stored.record.training
    path = stored.folder / WEIGHTS
    if training is None or WEIGHTS not in stored.record.files or not path.exists():
        return False
    network.set_weights(read_weights(path, network.weight_specs(), training.weights_sha256))
    return True


def add(job: Job, cell: CellKey, measurement: Measurement) -> StoredRecord:
    """Commit the record with a measurement of process `job.part` beside those of earlier ones."""
    import pandas as pd

    from harness.measuring.latency import no_samples
    from harness.measuring.summary import measurements_of, summarise

    stored = _stored(job, cell)
    record = stored.record
    samples = stored.latency_samples() if SAMPLES in record.files else no_samples()
    before = _entry(record, measurement.plan, measurement.quantity, measurement.batch)
    earlier = measurements_of(before, samples) if before and job.part else []
    own = (
        (samples["plan"] == measurement.plan)
        & (samples["quantity"] == measurement.quantity)
        & (samples["batch"] == measurement.batch)
    )
    kept = samples[~own | (samples["process"] < job.part)]
    found = measurement.samples() if measurement.latency_ns is not None else no_samples()
    latency = _replaced(record.latency, [summarise([*earlier, measurement])])
    table = pd.concat([kept, found], ignore_index=True)
    update: dict[str, Any] = {"latency": _judged(latency, table, job.device)}
    if (record.reason or "").startswith(WHILE_MEASURING):
        update |= {"status": "ok", "reason": None}
    return records.commit(
        job.results, record.model_copy(update=update), {SAMPLES: table}, keep=stored
    )


def lose(job: Job, cell: CellKey, under_way: dict[str, Any], status: Status, reason: str) -> None:
    """Note a process that ended in the middle of a measurement, and what it did not come to."""
    stored = _stored(job, cell)
    settings = job.protocol.measuring
    skipped = (
        f"skipped_after_{status}: the process ended at {under_way['quantity']}, "
        f"batch {under_way['batch']}."
    )
    what = {name: under_way[name] for name in ("plan", "default", "precision")}
    lost: list[Latency] = []
    for batch in sorted(set(settings.batches)):
        for quantity in settings.quantities:
            old = _entry(stored.record, under_way["plan"], quantity, batch)
            if (quantity, batch) == (under_way["quantity"], under_way["batch"]):
                why = reason
            elif lost and (old is None or old.processes == job.part):
                why = skipped
            else:
                continue
            blank = Latency(
                **what, quantity=quantity, batch=batch, profile=settings.profile, status=status
            )
            update = {"status": status, "reason": why, "publishable": False}
            lost.append((old or blank).model_copy(update=update))
    latency = _replaced(stored.record.latency, lost)
    record = stored.record.model_copy(update={"latency": latency})
    records.commit(job.results, record, keep=stored)


def _stored(job: Job, cell: CellKey) -> StoredRecord:
    stored = records.find_record(job.results, job.machine, cell)
    assert stored is not None, "a record stands before it gains latencies"
    return stored


def _replaced(entries: Sequence[Latency], new: Sequence[Latency]) -> list[Latency]:
    """Entries by plan, quantity and batch, the new ones in the place of the old."""
    found = {(e.plan, e.quantity, e.batch): e for e in (*entries, *new)}
    return list(found.values())


def _judged(latencies: Sequence[Latency], samples: pd.DataFrame, device: str) -> list[Latency]:
    """Say where throughput falls or memory shrinks as the batch grows (measuring, 11).

    On a GPU that is a fault of the measurement. On a CPU a larger batch may simply leave the
    cache, and only throughput can be judged: it is said and nothing more.
    """
    judged = []
    for latency in latencies:
        series = [e for e in latencies if (e.plan, e.quantity) == (latency.plan, latency.quantity)]
        findings = [gates.throughput_falls(_by_batch(series, samples)).get(latency.batch)]
        if device == "cuda":
            peaks = {e.batch: e.memory.get("allocated_peak_bytes") for e in series}
            known = {b: p.bytes for b, p in peaks.items() if p is not None and p.bytes is not None}
            findings.append(gates.memory_shrinks(known).get(latency.batch))
        growth = [finding for finding in findings if finding]
        update: dict[str, Any] = {"growth": growth}
        if growth and device == "cuda":
            update["publishable"] = False
        judged.append(latency.model_copy(update=update))
    return judged


def _by_batch(series: Sequence[Latency], samples: pd.DataFrame) -> dict[int, Array]:
    """The good samples in milliseconds of one plan and quantity, by batch size."""
    found = {}
    for entry in series:
        own = (
            (samples["plan"] == entry.plan)
            & (samples["quantity"] == entry.quantity)
            & (samples["batch"] == entry.batch)
            & (samples["process"] < entry.processes)
        )
        if own.any():
            found[entry.batch] = samples.loc[own, "latency_ns"].to_numpy() / 1e6
    return found
