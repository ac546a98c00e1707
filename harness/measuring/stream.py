"""The deadline test: slices arrive at a scanner's pace, and each must be segmented in time.

That, and not a median, is what "real time" means: a share of missed deadlines with its bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import beta

from backends.contract import Array, Inference
from harness.errors import unknown
from harness.statistics.percentiles import early_stopping

NS_PER_MS = 1e6
# `time.sleep` wakes late by up to this; the rest is waited for by watching the clock.
SLEEP_MARGIN_NS = 1_000_000
STALL_DEADLINES = 3


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How slices arrive: intervals drawn evenly from a range, in bursts with pauses between.

    `jitter_share` moves each arrival by up to that share of the shortest interval. The deadline
    of a slice is the shortest interval, unless the user names another.
    """

    name: str
    title: str
    interval_ms: tuple[float, float]
    burst: int = 0  # slices in a burst; 0: no bursts
    pause_ms: float = 0.0
    jitter_share: float = 0.05

    @property
    def deadline_ms(self) -> float:
        """The time that a slice has by default."""
        return self.interval_ms[0]


PACES = {
    pace.name: pace
    for pace in (
        Pace(name="haste", title="HASTE, 1.4–2.5 s a slice", interval_ms=(1400, 2500)),
        Pace(name="interactive", title="interactive, 30 ms a slice", interval_ms=(30, 30)),
        Pace(
            name="bursts",
            title="bursts of 16 slices at 30 ms, 2 s between",
            interval_ms=(30, 30),
            burst=16,
            pause_ms=2000,
        ),
    )
}


@dataclass(frozen=True, kw_only=True)
class StreamResult:
    """What a replay found; times are from a slice's arrival to its mask on the host.

    `missed` counts slices of the undisturbed part; `missed_share_upper` is the exact upper 95 %
    bound (Clopper–Pearson) of their true share. `recovery_slices` counts the slices after a stall
    of three deadlines until one is in time again: None if none was.
    """

    preset: str
    deadline_ms: float
    slices: int
    missed: int
    missed_share: float
    missed_share_upper: float
    median_ms: float
    worst_ms: float
    p99_ms: float | None
    p99_reason: str | None
    cold_start_ms: float
    recovery_slices: int | None


@dataclass(frozen=True, kw_only=True)
class Clock:
    """Where time comes from; tests bring their own."""

    now_ns: Callable[[], int] = time.perf_counter_ns
    sleep: Callable[[float], None] = time.sleep

    def wait_until(self, moment_ns: int) -> None:
        """Return at the moment, or at once if it is over."""
        ahead_ns = moment_ns - self.now_ns() - SLEEP_MARGIN_NS
        if ahead_ns > 0:
            self.sleep(ahead_ns / 1e9)
        while self.now_ns() < moment_ns:
            pass


def pace(name: str) -> Pace:
    """The pace of that name. Raises `UsageError`."""
    if name not in PACES:
        raise unknown("preset", name, PACES)
    return PACES[name]


def arrivals_ns(chosen: Pace, slices: int, seed: int) -> Array:
    """Moments (slices,) int64 at which slices arrive, from the start; growing."""
    random = np.random.default_rng(seed)
    intervals = random.uniform(*chosen.interval_ms, slices)
    if chosen.burst:
        intervals[chosen.burst :: chosen.burst] += chosen.pause_ms
    intervals[0] = 0
    most = chosen.jitter_share * chosen.interval_ms[0]
    moments = np.cumsum(intervals) + random.uniform(0, most, slices)
    return (np.maximum.accumulate(moments) * NS_PER_MS).astype(np.int64)


def replay(
    inference: Inference,
    images: Array,
    arrivals: Sequence[int] | Array,
    *,
    stall_at: int | None = None,
    stall_ms: float = 0.0,
    clock: Clock | None = None,
) -> Array:
    """Responses (n,) int64 nanoseconds of an `end_to_end` inference to a stream of slices.

    Slice k shows image k modulo the number of (m, h, w, 1) images. A slice that arrives while an
    earlier one is worked on waits, and its waiting counts. Before slice `stall_at` the host stands
    still for `stall_ms` after the slice's arrival.
    """
    clock = clock or Clock()
    responses = np.empty(len(arrivals), np.int64)
    start = clock.now_ns() + SLEEP_MARGIN_NS
    for k, offset in enumerate(arrivals):
        inference.set_images(images[k % len(images)][None])
        arrival = start + int(offset)
        clock.wait_until(arrival)
        if k == stall_at:
            clock.sleep(stall_ms / 1e3)
        inference.synchronise(inference.launch())
        responses[k] = clock.now_ns() - arrival
    return responses


def missed_share_upper(missed: int, slices: int, confidence: float = 0.95) -> float:
    """Exact one-sided upper bound of the share of missed deadlines (Clopper–Pearson)."""
    if missed >= slices:
        return 1.0
    return float(beta.ppf(confidence, missed + 1, slices - missed))


def judge(
    chosen: Pace,
    responses: Array,
    after_stall: Array,
    *,
    deadline_ms: float,
    cold_start_ms: float,
) -> StreamResult:
    """Judge the responses of an undisturbed replay and those from a stalled slice on."""
    in_ms = responses / NS_PER_MS
    missed = int((in_ms > deadline_ms).sum())
    p99 = early_stopping(in_ms, percentile=0.99)
    in_time = np.flatnonzero(after_stall / NS_PER_MS <= deadline_ms)
    recovered = int(in_time[0]) if len(in_time) else None
    return StreamResult(
        preset=chosen.name,
        deadline_ms=deadline_ms,
        slices=len(responses),
        missed=missed,
        missed_share=missed / len(responses),
        missed_share_upper=missed_share_upper(missed, len(responses)),
        median_ms=float(np.median(in_ms)),
        worst_ms=float(in_ms.max()),
        p99_ms=p99.value,
        p99_reason=p99.reason,
        cold_start_ms=cold_start_ms,
        recovery_slices=recovered,
    )


def run(
    prepare: Callable[[], Inference],
    images: Array,
    chosen: Pace,
    *,
    slices: int,
    seed: int,
    deadline_ms: float | None = None,
    elapsed_ms: float = 0.0,
    clock: Clock | None = None,
) -> tuple[StreamResult, pd.DataFrame]:
    """Cold start, an undisturbed replay, and one with a stall of three deadlines.

    The cold start is everything from nothing to the first mask: `elapsed_ms` that the process took
    before, compiling, loading, first call. The table has one row per slice: replay (undisturbed,
    stalled), slice, arrival_ns, response_ns.
    """
    clock = clock or Clock()
    deadline_ms = deadline_ms or chosen.deadline_ms
    begin = clock.now_ns()
    inference = prepare()
    inference.synchronise(inference.launch())
    cold_start_ms = elapsed_ms + (clock.now_ns() - begin) / NS_PER_MS
    arrivals = arrivals_ns(chosen, slices, seed)
    responses = replay(inference, images, arrivals, clock=clock)
    late_arrivals = arrivals_ns(chosen, 2 + 10 * STALL_DEADLINES, seed + 1)
    stalled = replay(
        inference,
        images,
        late_arrivals,
        stall_at=1,
        stall_ms=STALL_DEADLINES * deadline_ms,
        clock=clock,
    )
    found = judge(
        chosen, responses, stalled[1:], deadline_ms=deadline_ms, cold_start_ms=cold_start_ms
    )
    return found, pd.concat(
        [
            _rows("undisturbed", arrivals, responses),
            _rows("stalled", late_arrivals, stalled),
        ],
        ignore_index=True,
    )


def _rows(name: str, arrivals: Array, responses: Array) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "replay": name,
            "slice": np.arange(len(arrivals)),
            "arrival_ns": arrivals,
            "response_ns": responses,
        }
    )
