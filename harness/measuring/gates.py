"""Gates: what must hold before a latency is believed.

Each returns a sentence that says what is wrong, or None. A failed gate makes the measurement
`invalid`; it is kept, with the sentence, and never published. Gates that compare two medians decide
by the spread of the queries (measuring, 12a): a `Finding` that this spread does not bear out is a
doubt and accuses nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from time import perf_counter, sleep
from typing import Any

import numpy as np

from backends.contract import Array, Inference
from harness.measuring.inputs import is_repeat
from harness.measuring.spread import median_bounds
from harness.measuring.timer import time_query

# Winograd's F(2×2, 3×3) needs 2.25 times fewer multiplications than the definition that we count.
WINOGRAD_SAVING = 2.25
HIDDEN_SHARE = 0.2  # (p.) of a query that may still run after its stop stamp
CACHED_RATIO = 1.5  # (p.) new inputs may be this much slower than repeated ones
SLACK_MS = 0.05  # (p.) below this, differences between queries are the host's own noise
GROWTH_TOLERANCE = 0.05
# (p.) Logits that differ by less than this share of the greatest are a tie that rounding decides.
TIE_SHARE = 1e-3
# (p.) And there may be no more such pixels than this share of all: of a mask that is wrong
# everywhere, none is a tie.
TIED_PIXELS = 0.001
# (p.) Of a network that unpools: PyTorch's float32 masks of SegNet at 256×256, before training,
# differ from float64's in up to 0.13 % of a slice.
UNPOOLED_PIXELS = 0.005
# (p.) The same query again may differ in more: sums on a GPU run in another order each time, and in
# reduced precision many pixels are near a tie.
REPEATED_PIXELS = 0.05
AUDITS, MORE_AUDITS = 3, 11


@dataclass(frozen=True)
class Finding:
    """What a gate that compares medians has found; `certain` if the interval bears it out."""

    sentence: str
    certain: bool


def compiled(before: int, after: int) -> str | None:
    """Compilation inside the timed region."""
    if after == before:
        return None
    return f"the backend compiled {after - before} time(s) inside the timed region."


def hidden_work(inference: Inference, read: Callable[[Any], Any]) -> Finding | None:
    """Work that is still running at the stop stamp: the synchronisation does not synchronise.

    Compares reading a result at once with reading one after a wait that is long enough for any
    work to end; what the first takes longer is work that the stamps did not see. The first look is
    short. If it finds something, a longer one decides by the interval of the median, since other
    processes can delay a read too.
    """
    for audits in (AUDITS, MORE_AUDITS):
        hidden_ms, total_ms = _hidden_ms(inference, read, audits)
        allowed_ms = max(SLACK_MS, HIDDEN_SHARE * median(total_ms))
        if median(hidden_ms) <= allowed_ms:
            return None
    share = f"{median(hidden_ms):.2f} of {median(total_ms):.2f} ms came after it"
    if median_bounds(np.array(hidden_ms))[0] > allowed_ms:
        return Finding(f"the device was still working at the stop stamp: {share}.", certain=True)
    return Finding(
        f"whether the device was still working at the stop stamp cannot be judged on this busy "
        f"machine: {share}, with a spread that chance explains.",
        certain=False,
    )


def _hidden_ms(
    inference: Inference, read: Callable[[Any], Any], audits: int
) -> tuple[list[float], list[float]]:
    """The work after the stop stamp and the whole query, in milliseconds, for each audit."""
    totals, hidden = [], []
    for _ in range(audits):
        latency_ns, result = time_query(inference)
        at_once = _seconds(read, result)
        total = latency_ns / 1e9 + at_once
        _, result = time_query(inference)
        sleep(max(0.005, 1.5 * total))
        hidden.append(1e3 * (at_once - _seconds(read, result)))
        totals.append(1e3 * total)
    return hidden, totals


def _seconds(read: Callable[[Any], Any], result: Any) -> float:
    start = perf_counter()
    read(result)
    return perf_counter() - start


def remembered(latency_ns: Array) -> Finding | None:
    """Answers from a cache: a repeated input comes out much faster than the same input before it.

    Each repeat is compared with the query right before it, so that drift and load fall on both.
    """
    repeats = np.array([query for query in range(1, len(latency_ns)) if is_repeat(query)], int)
    if not len(repeats):
        return None
    new, again = latency_ns[repeats - 1] / 1e6, latency_ns[repeats] / 1e6
    ratios = (new - SLACK_MS) / again
    if float(np.median(ratios)) <= CACHED_RATIO:
        return None
    medians = (
        f"{float(np.median(new)):.2f} ms for new inputs, {float(np.median(again)):.2f} ms for the "
        "same again"
    )
    if median_bounds(ratios)[0] > CACHED_RATIO:
        return Finding(f"the backend remembers answers: {medians}.", certain=True)
    return Finding(
        f"whether the backend remembers answers cannot be judged on this busy machine: {medians}, "
        "with a spread that chance explains.",
        certain=False,
    )


def faster_than_the_device(
    flops: int | None, batch: int, median_ms: float, peak_flops: float | None
) -> str | None:
    """More operations a second than the device could do even with Winograd's saving."""
    above = _above(flops, batch, median_ms, peak_flops)
    if above is None or above[0] <= WINOGRAD_SAVING * above[1]:
        return None
    return f"{_beside(*above)}: the work was not done."


def faster_than_products(
    flops: int | None, batch: int, median_ms: float, peak_flops: float | None
) -> str | None:
    """A rate between the peak of matrix products and that times Winograd's saving: a remark."""
    above = _above(flops, batch, median_ms, peak_flops)
    if above is None or above[0] > WINOGRAD_SAVING * above[1]:
        return None
    return f"{_beside(*above)}: possible only with fewer multiplications, as Winograd's."


def _above(
    flops: int | None, batch: int, median_ms: float, peak_flops: float | None
) -> tuple[float, float] | None:
    """Rate and peak in FLOP/s if the rate is the greater; else None."""
    if flops is None or peak_flops is None:
        return None
    reached = flops * batch / (median_ms / 1e3)
    return (reached, peak_flops) if reached > peak_flops else None


def _beside(reached: float, peak_flops: float) -> str:
    return (
        f"{reached / 1e9:.0f} GFLOP/s is more than the device can do "
        f"(peak {peak_flops / 1e9:.0f} GFLOP/s on a matrix product)"
    )


def other_masks(masks: Array, logits: Array, *, unpools: bool = False) -> str | None:
    """Timed masks (n, h, w) that differ from the float32 network's logits (n, h, w, classes).

    A pixel whose two greatest logits differ by less than a small share of the greatest may differ:
    rounding, which is another in every plan, decides it. Only few pixels may be of that kind. In a
    network that `unpools`, rounding also decides which of two equal values a pooling takes, and
    with it the place of what is unpooled: there any pixel may be one of the few.
    """
    if masks.shape != logits.shape[:3]:
        return f"the timed masks have shape {masks.shape}, expected {logits.shape[:3]}."
    ranked = np.sort(logits, axis=-1)
    margin = ranked[..., -1] - ranked[..., -2]
    tie = TIE_SHARE * float(np.abs(logits).max())
    differs = masks != logits.argmax(-1)
    few = (UNPOOLED_PIXELS if unpools else TIED_PIXELS) * differs.size
    decided = differs & (margin > tie) & (not unpools)
    if not decided.any() and differs.sum() <= max(1, few):
        return None
    return (
        f"the timed run gave other masks than the evaluation: {int(differs.sum())} of "
        f"{differs.size} pixels differ."
    )


def other_answer(masks: Array, again: Array) -> str | None:
    """Timed masks that the same query, asked again with the same images, does not give."""
    if masks.shape != again.shape:
        return f"the timed masks have shape {masks.shape}, and {again.shape} when asked again."
    differing = int((masks != again).sum())
    if differing <= max(1, REPEATED_PIXELS * masks.size):
        return None
    return (
        f"the timed run gave other masks than the same query again: {differing} of {masks.size} "
        "pixels differ."
    )


def throughput_falls(latency_ms_by_batch: Mapping[int, Array]) -> dict[int, str]:
    """Batch sizes at which an image takes over 5 % longer than at the batch size before.

    By the intervals of the medians: queries whose spread explains the difference say nothing.
    """
    found = {}
    for smaller, larger in pairwise(sorted(latency_ms_by_batch)):
        before, after = (latency_ms_by_batch[batch] / batch for batch in (smaller, larger))
        most, least = median_bounds(before)[1], median_bounds(after)[0]
        if least > (1 + GROWTH_TOLERANCE) * most:
            found[larger] = (
                f"an image takes {np.median(after):.2f} ms at batch size {larger}, "
                f"{np.median(before):.2f} ms at {smaller}: throughput falls."
            )
    return found


def memory_shrinks(peak_bytes_by_batch: Mapping[int, int]) -> dict[int, str]:
    """Batch sizes whose peak memory is over 5 % below that of the batch size before."""
    batches = sorted(peak_bytes_by_batch)
    found = {}
    for smaller, larger in pairwise(batches):
        before, after = peak_bytes_by_batch[smaller], peak_bytes_by_batch[larger]
        if after < (1 - GROWTH_TOLERANCE) * before:
            found[larger] = (
                f"the peak is {after} bytes at batch size {larger}, {before} at {smaller}: "
                "memory shrinks."
            )
    return found
