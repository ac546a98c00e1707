"""Summaries of raw samples: what a record says of one (plan, quantity, batch)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from backends.contract import Array
from harness.measuring.latency import NS_PER_MS, Measurement
from harness.measuring.profiles import Profile
from harness.measuring.profiles import profile as find_profile
from harness.records.schema import Latency
from harness.statistics.percentiles import early_stopping

# The paper's mean and standard deviation are over this many iterations.
PAPER_QUERIES = 100


def summarise(measurements: Sequence[Measurement]) -> Latency:
    """Summary of one (plan, quantity, batch), measured in one process or in several.

    Figures are those of the pooled samples in order of process and query. Compile time, first
    call and memory are those of the first process.
    """
    first = measurements[0]
    failed = [m for m in measurements if m.status != "ok"]
    reasons = dict.fromkeys(reason for m in failed for reason in m.reasons)
    doubts = dict.fromkeys(doubt for m in measurements for doubt in m.doubts)
    latency = Latency(
        plan=first.plan,
        default=first.default,
        precision=first.precision,
        quantity=first.quantity,
        batch=first.batch,
        profile=first.profile.name,
        status=failed[0].status if failed else "ok",
        reason=" ".join(reasons) or None,
        doubts=list(doubts),
        remarks=list(dict.fromkeys(remark for m in measurements for remark in m.remarks)),
        processes=len(measurements) - len(failed),
        memory=dict(first.memory),
    )
    samples = [m.latency_ns for m in measurements if m.latency_ns is not None]
    if len(samples) < len(measurements):
        return latency
    complete = _complete(first.profile, first.batch, samples)
    steady = all(m.steady for m in measurements)
    sound = complete and steady and not failed and not doubts
    return latency.model_copy(
        update={
            **figures(np.concatenate(samples)),
            "first_call_ms": _ms(first.first_call_ns),
            "compile_ms": _ms(first.compile_ns),
            "steady": steady,
            "publishable": sound and first.profile.publishable,
        }
    )


def measurements_of(latency: Latency, samples: pd.DataFrame) -> list[Measurement]:
    """The good measurements behind a summary, one a process, from a record's raw samples."""
    chosen = samples[
        (samples["plan"] == latency.plan)
        & (samples["quantity"] == latency.quantity)
        & (samples["batch"] == latency.batch)
        & (samples["process"] < latency.processes)
    ]
    return [
        Measurement(
            plan=latency.plan,
            default=latency.default,
            precision=latency.precision,
            quantity=latency.quantity,
            batch=latency.batch,
            profile=find_profile(latency.profile),
            process=int(str(process)),
            doubts=tuple(latency.doubts),
            remarks=tuple(latency.remarks),
            latency_ns=rows["latency_ns"].to_numpy(),
            steady=latency.steady,
            compile_ns=_ns(latency.compile_ms),
            first_call_ns=_ns(latency.first_call_ms),
            memory=latency.memory,
        )
        for process, rows in chosen.groupby("process")
    ]


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
