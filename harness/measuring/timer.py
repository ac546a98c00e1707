"""The timer: one host clock for every framework, and the device idle at both stamps."""

from __future__ import annotations

import gc
from collections.abc import Callable, Collection
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from time import monotonic_ns, perf_counter_ns
from typing import Any

import numpy as np

from backends.contract import Array, Inference
from harness.measuring.inputs import Inputs
from harness.measuring.profiles import Profile

NS_PER_S = 1_000_000_000
STEADY_WINDOW = 10
IDLE_WAITS = 25


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Raw latencies of consecutive queries, int64 nanoseconds, and the results that were kept.

    `window_ns` is when they began and ended, by the host's monotonic clock.
    """

    latency_ns: Array
    window_ns: tuple[int, int] = (0, 0)
    kept: dict[int, Any] = field(default_factory=dict)


def time_query(inference: Inference) -> tuple[int, Any]:
    """Time one query in nanoseconds; the device must be idle when this is called."""
    launch, synchronise = inference.launch, inference.synchronise
    start = perf_counter_ns()
    result = launch()
    synchronise(result)
    stop = perf_counter_ns()
    return stop - start, result


def time_synchronisation(inference: Inference) -> int:
    """Nanoseconds that waiting takes if there is nothing to wait for: part of every query.

    The median of some; where it is not small beside a query, the query is as fast as the wait.
    """
    _, result = time_query(inference)
    taken = []
    for _ in range(IDLE_WAITS):
        start = perf_counter_ns()
        inference.synchronise(result)
        taken.append(perf_counter_ns() - start)
    return int(median(taken))


def warm_up(inference: Inference, inputs: Inputs, profile: Profile) -> bool:
    """Call until steady (see `Profile`); return whether it became so within the limit."""
    latencies: list[int] = []
    images = inputs.batch(0)
    begin = perf_counter_ns()
    while True:
        inference.set_images(images)
        latencies.append(time_query(inference)[0])
        seconds = (perf_counter_ns() - begin) / NS_PER_S
        enough = len(latencies) >= profile.warm_up_calls and seconds >= profile.warm_up_s
        if enough and is_steady(latencies, profile.steady_share):
            return True
        if seconds >= profile.warm_up_limit_s:
            return False


def is_steady(latencies: list[int], share: float) -> bool:
    """Whether the median of the last ten lies within `share` of that of the ten before."""
    if len(latencies) < 2 * STEADY_WINDOW:
        return False
    last = median(latencies[-STEADY_WINDOW:])
    before = median(latencies[-2 * STEADY_WINDOW : -STEADY_WINDOW])
    return abs(last - before) <= share * before


@contextmanager
def no_garbage_collection():
    """Collect now and not inside: a pause of Python's collector is not the network's."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


def time_queries(
    inference: Inference,
    inputs: Inputs,
    *,
    queries: int,
    seconds: float,
    keep: Collection[int] = (),
    read: Callable[[Any], Any] = lambda result: result,
) -> Timed:
    """Time at least `queries` queries and `seconds` of latency, one after the other.

    Queries whose number is in `keep` have their result passed through `read` right after their
    stop stamp, before a later query can overwrite it.
    """
    latencies: list[int] = []
    kept: dict[int, Any] = {}
    total, least_ns = 0, round(seconds * NS_PER_S)
    begin = monotonic_ns()
    with no_garbage_collection():
        # The collector has swept the caches: one query that is not timed fills them again. Without
        # it the first query was the slowest of all in 20 of 100 series.
        inference.set_images(inputs.batch(0))
        time_query(inference)
        while len(latencies) < queries or total < least_ns:
            query = len(latencies)
            inference.set_images(inputs.batch(Inputs.of_query(query)))
            latency, result = time_query(inference)
            latencies.append(latency)
            total += latency
            if query in keep:
                kept[query] = read(result)
            # A result still alive would make the next query's allocations differ from the first's.
            del result
    return Timed(
        latency_ns=np.array(latencies, np.int64), window_ns=(begin, monotonic_ns()), kept=kept
    )
