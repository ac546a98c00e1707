"""What the harness adds to a query: our timed call against the bare callable in a tight loop.

    python -m benchmarks.timer_overhead

Prints microseconds; the aim is under 20. The callable does nothing, so that all of it is overhead.
"""

from __future__ import annotations

from time import perf_counter_ns

import numpy as np

from harness.measuring.inputs import Inputs
from harness.measuring.timer import time_queries
from tests.contract.fakes import Idle

QUERIES = 20_000
AIM_US = 20.0


def main() -> int:
    """Measure both ways, print, and return 1 where the aim is missed."""
    images = np.zeros((4, 64, 64, 1), np.float32)
    inference = Idle(images[:1], "forward")
    timed = time_queries(inference, Inputs(images, 1, seed=0), queries=QUERIES, seconds=0)
    start = perf_counter_ns()
    for _ in range(QUERIES):
        inference.launch()
    bare_us = (perf_counter_ns() - start) / QUERIES / 1e3
    stamps_us = float(np.median(timed.latency_ns)) / 1e3
    p99_us = float(np.quantile(timed.latency_ns, 0.99)) / 1e3
    print(f"timed query {stamps_us:.2f} µs (p99 {p99_us:.2f}), bare call {bare_us:.2f} µs")
    print(f"overhead {stamps_us - bare_us:.2f} µs, aim under {AIM_US:g} µs")
    return int(stamps_us - bare_us >= AIM_US)


if __name__ == "__main__":
    raise SystemExit(main())
