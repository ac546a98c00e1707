"""Summaries of raw samples: what a record says of the latency under one condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd

from backends.contract import Array
from harness.measuring import gates
from harness.measuring.entries import find, replaced, with_failures
from harness.measuring.latency import NS_PER_MS, Measurement
from harness.measuring.profiles import Profile
from harness.measuring.profiles import profile as find_profile
from harness.records.schema import Condition, Latency
from harness.statistics.percentiles import early_stopping

# The paper's mean and standard deviation are over this many iterations.
PAPER_QUERIES = 100


def summarise(measurements: Sequence[Measurement]) -> Latency:
    """Summary of measurements under one condition, made in one process or in several.

    Figures are those of the pooled samples in order of process and query. Compile time, first
    call, waiting and memory are those of the first process.
    """
    first = measurements[0]
    failed = [m for m in measurements if m.status != "ok"]
    reasons = dict.fromkeys(reason for m in failed for reason in m.reasons)
    doubts = dict.fromkeys(doubt for m in measurements for doubt in m.doubts)
    latency = Latency(
        **first.condition.model_dump(),
        default=first.default,
        profile=first.profile.name,
        status=failed[0].status if failed else "ok",
        reason=" ".join(reasons) or None,
        doubts=list(doubts),
        remarks=list(dict.fromkeys(remark for m in measurements for remark in m.remarks)),
        processes=len(measurements) - len(failed),
        deterministic=first.deterministic,
        memory=dict(first.memory),
    )
    samples = [m.latency_ns for m in measurements if m.latency_ns is not None]
    if len(samples) < len(measurements):
        return latency
    complete = _complete(first.profile, first.condition.batch, samples)
    steady = all(m.steady for m in measurements)
    sound = complete and steady and not failed and not doubts
    return latency.model_copy(
        update={
            **figures(np.concatenate(samples)),
            "first_call_ms": _ms(first.first_call_ns),
            "compile_ms": _ms(first.compile_ns),
            "synchronise_ms": _ms(first.synchronise_ns),
            "steady": steady,
            "publishable": sound and first.profile.publishable,
        }
    )


def measurements_of(latency: Latency, samples: pd.DataFrame) -> list[Measurement]:
    """The good measurements behind a summary, one per process, from a record's raw samples."""
    chosen = samples[_good(latency, samples)]
    return [
        Measurement(
            condition=latency.condition,
            default=latency.default,
            profile=find_profile(latency.profile),
            process=int(str(process)),
            doubts=tuple(latency.doubts),
            remarks=tuple(latency.remarks),
            latency_ns=rows["latency_ns"].to_numpy(),
            steady=latency.steady,
            compile_ns=_ns(latency.compile_ms),
            first_call_ns=_ns(latency.first_call_ms),
            synchronise_ns=_ns(latency.synchronise_ms),
            deterministic=latency.deterministic,
            memory=latency.memory,
        )
        for process, rows in chosen.groupby("process")
    ]


def gather(
    entries: Sequence[Latency],
    samples: pd.DataFrame,
    found: Measurement,
    device: str,
    code: str | None = None,
) -> tuple[list[Latency], pd.DataFrame]:
    """A record's latencies and raw samples with a measurement beside those of earlier processes.

    The first process replaces all that was measured under its condition before. `code` is a digest
    of what measures.
    """
    before = find(entries, found.condition)
    earlier = measurements_of(before, samples) if before and found.process else []
    own = found.condition.mask(samples)
    kept = samples[~own | (samples["process"] < found.process)]
    table = pd.concat([kept, found.samples()], ignore_index=True)
    summary = with_failures(summarise([*earlier, found]), before, code)
    latency = replaced(entries, [summary])
    return _judged(latency, table, device), table


def _judged(entries: Sequence[Latency], samples: pd.DataFrame, device: str) -> list[Latency]:
    """Say where throughput falls or memory shrinks as the batch grows (measuring, 11).

    On a GPU that is a fault of the measurement. On a CPU a larger batch may simply leave the
    cache, and only throughput can be judged: it is said and nothing more.
    """
    judged = []
    for entry in entries:
        series = [e for e in entries if _without_batch(e) == _without_batch(entry)]
        by_batch = {
            one.batch: samples.loc[good, "latency_ns"].to_numpy() / NS_PER_MS
            for one in series
            if (good := _good(one, samples)).any()
        }
        findings = [gates.throughput_falls(by_batch).get(entry.batch)]
        if device == "cuda":
            peaks = {e.batch: e.memory.get("allocated_peak_bytes") for e in series}
            known = {b: p.bytes for b, p in peaks.items() if p is not None and p.bytes is not None}
            findings.append(gates.memory_shrinks(known).get(entry.batch))
        growth = [finding for finding in findings if finding]
        update: dict[str, Any] = {"growth": growth}
        if growth and device == "cuda":
            update["publishable"] = False
        judged.append(entry.model_copy(update=update))
    return judged


def _without_batch(entry: Latency) -> Condition:
    return entry.condition.model_copy(update={"batch": 0})


def _good(entry: Latency, samples: pd.DataFrame) -> pd.Series:
    """Which rows are samples of processes that measured it well (boolean)."""
    return entry.condition.mask(samples) & (samples["process"] < entry.processes)


def figures(latency_ns: Array) -> dict[str, float | int | str | None]:
    """The figures of int64 nanosecond samples, in milliseconds; the same samples, the same bits.

    Mean and standard deviation (n − 1) are of the first 100 queries, as in the paper.
    """
    p90, p99 = (early_stopping(latency_ns, share, confidence=0.99) for share in (0.9, 0.99))
    paper = latency_ns[:PAPER_QUERIES]
    return {
        "queries": len(latency_ns),
        "median_ms": float(np.median(latency_ns)) / NS_PER_MS,
        "p90_ms": _ms(p90.value),
        "p90_reason": p90.reason,
        "p99_ms": _ms(p99.value),
        "p99_reason": p99.reason,
        "mean_ms": float(np.mean(paper)) / NS_PER_MS,
        "std_ms": float(np.std(paper, ddof=1)) / NS_PER_MS if len(paper) > 1 else None,
    }


def _complete(profile: Profile, batch: int, samples: Sequence[Array]) -> bool:
    """Whether enough queries, seconds and processes stand behind a published figure."""
    queries, seconds = profile.least(batch)
    return (
        len(samples) >= profile.processes
        and sum(map(len, samples)) >= queries
        and sum(int(s.sum()) for s in samples) >= seconds * 1e9
    )


def _ms(nanoseconds: float | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / NS_PER_MS


def _ns(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * NS_PER_MS)
