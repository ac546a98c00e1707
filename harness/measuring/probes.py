"""What the device really does, found by computing and not by reading flags."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from statistics import median
from time import process_time

import numpy as np

from backends.contract import Backend
from backends.errors import Unsupported, is_out_of_memory
from harness import cores

SIZE = 1024
# A product of two 8192×8192 matrices takes a tensor core of an H100 1.4 ms; its launch takes 20 µs,
# which is ten times as long as the product of two 1024×1024 matrices.
PRODUCT_SIZES = {"cpu": SIZE, "cuda": 8192}
PRODUCTS = 8
ROUNDS = 5
# A processor without a precision emulates it, hundreds of times slower: one product says so.
EMULATED_S = 0.5
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

    By the backend if it offers them, in the plan's own precision; on a CPU by NumPy in float32
    too, and the greater counts: a framework may emulate a precision that a runtime does not. Plans
    for which neither holds are left out.
    """
    peaks = {}
    for plan in plans:
        found = [
            _peak_by_backend(backend, plan, PRODUCT_SIZES[device]),
            peak_by_numpy() if device == "cpu" else None,
        ]
        known = [peak for peak in found if peak is not None]
        if known:
            peaks[plan] = max(known)
    return peaks


@cache
def _peak_by_backend(backend: Backend, plan: str, size: int) -> float | None:
    """The median over several rounds of products, each large enough to hide its launch.

    Once a process: networks that share it share the device's peak. If the matrices do not fit, half
    the size is tried.
    """
    try:
        once = backend.product_seconds(size, plan=plan, products=1)
        if once > EMULATED_S:
            return 2 * size**3 / once
        seconds = [
            backend.product_seconds(size, plan=plan, products=PRODUCTS) for _ in range(ROUNDS)
        ]
    except Unsupported:
        return None
    except Exception as error:
        if not is_out_of_memory(error) or size <= SIZE:
            raise
        return _peak_by_backend(backend, plan, size // 2)
    return PRODUCTS * 2 * size**3 / median(seconds)


@cache
def peak_by_numpy() -> float:
    """Peak of this process's cores in float32: FLOPs per CPU second of NumPy, times cores."""
    matrix = np.random.default_rng(0).standard_normal((SIZE, SIZE), np.float32)
    best = np.inf
    for _ in range(TRIES):
        start = process_time()
        np.matmul(matrix, matrix)
        best = min(best, process_time() - start)
    return cores.count() * 2 * SIZE**3 / best
