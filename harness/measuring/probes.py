"""What the device really does, found by computing and not by reading flags."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from time import perf_counter, process_time

import numpy as np

from backends.contract import Backend
from backends.errors import Unsupported
from harness.measuring.machine import cores

SIZE = 1024
REPEATS = 8
TRIES = 3


def multiplies_in_tf32(backend: Backend, plan: str) -> bool:
    """Whether a plan's float32 matrix products are TF32 (or coarser).

    A 1024×1024 matrix of 1.0001 times ones is 1024.1 in float32. TF32 keeps ten bits of a
    fraction, turns 1.0001 into 1, and gives 1024.0. Raises `Unsupported`.
    """
    left = np.full((SIZE, SIZE), 1.0001, np.float32)
    right = np.ones((SIZE, SIZE), np.float32)
    product = backend.multiply(left, right, plan=plan)
    return bool(abs(float(product.mean()) - SIZE) < 0.05)


def peak_flops(backend: Backend, plans: Sequence[str], device: str) -> dict[str, float]:
    """Measured peak of matrix products, FLOP/s by plan.

    By the backend where it offers them, in the plan's own precision; on a CPU by NumPy in float32
    too, and the greater counts: a framework may emulate a precision that a runtime does not. Plans
    for which neither holds are left out.
    """
    peaks = {}
    for plan in plans:
        found = [_peak_by_backend(backend, plan), peak_by_numpy() if device == "cpu" else None]
        known = [peak for peak in found if peak is not None]
        if known:
            peaks[plan] = max(known)
    return peaks


@cache
def _peak_by_backend(backend: Backend, plan: str) -> float | None:
    """From the difference between many products and one, which leaves transfers out.

    Once a process: networks that share it share the device's peak.
    """
    random = np.random.default_rng(0)
    left = random.standard_normal((SIZE, SIZE), np.float32)
    # Orthogonal, so that repeated products neither overflow nor vanish.
    right = np.linalg.qr(random.standard_normal((SIZE, SIZE)))[0].astype(np.float32)

    def seconds(repeats: int) -> float:
        start = perf_counter()
        backend.multiply(left, right, plan=plan, repeats=repeats)
        return perf_counter() - start

    try:
        # The first of each may compile and is never the least.
        fewest = min(seconds(1) for _ in range(1 + TRIES))
        most = min(seconds(1 + REPEATS) for _ in range(1 + TRIES))
    except Unsupported:
        return None
    return REPEATS * 2 * SIZE**3 / max(most - fewest, 1e-9)


@cache
def peak_by_numpy() -> float:
    """Peak of this process's cores in float32: FLOPs per CPU second of NumPy, times cores."""
    matrix = np.random.default_rng(0).standard_normal((SIZE, SIZE), np.float32)
    best = np.inf
    for _ in range(TRIES):
        start = process_time()
        np.matmul(matrix, matrix)
        best = min(best, process_time() - start)
    return cores() * 2 * SIZE**3 / best
