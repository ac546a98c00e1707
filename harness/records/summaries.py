"""The summaries of a record, computed again from the raw samples beside it.

On purpose not with the code that made them (`harness.metrics`, `harness.measuring`): a fault there
must not confirm itself. Only NumPy and Arrow: some thousand records are checked in seconds.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa

from harness.errors import RecordError
from harness.records.schema import Latency
from harness.records.stored import LATENCY, SLICES, StoredRecord

# Sums in another order differ in the last bits.
TOLERANCE = 1e-9
PAPER_QUERIES = 100
AGAIN = "run the cell again with --force."
NS_PER_MS = 1e6
MEANS = {"dice_all": "dice", "iou_all": "iou", "paper_dice": "paper_dice", "paper_iou": "paper_iou"}
BRAIN_MEANS = {"dice": "dice", "iou": "iou", "nsd": "nsd", "hd95_mm": "hd95_mm"}
Array = np.ndarray[Any, Any]


def check_summaries(stored: StoredRecord) -> None:
    """Raise `RecordError` if a score or latency of the record is not that of its raw samples."""
    _check_scores(stored)
    _check_latencies(stored)


def _check_scores(stored: StoredRecord) -> None:
    record = stored.record
    if not record.scores:
        return
    path = stored.folder / SLICES
    try:
        found = scores_of(stored.arrow(SLICES))
    except (KeyError, pa.ArrowException) as error:
        raise RecordError(f"{path}: is not a table of scores ({error}); {AGAIN}") from None
    if record.scores.keys() != found.keys():
        raise RecordError(f"{path}: holds other test sets than the record; {AGAIN}")
    for name, scores in record.scores.items():
        for field, value in scores.model_dump().items():
            again = found[name].get(field)
            if not _same(value, again):
                raise RecordError(
                    f"{stored.folder}: the record's {field} on {name}, {_shown(value)}, is not "
                    f"that of its slices, {_shown(again)}; {AGAIN}"
                )


def _check_latencies(stored: StoredRecord) -> None:
    timed = [entry for entry in stored.record.latency if entry.median_ms is not None]
    if not timed:
        return
    path = stored.folder / LATENCY
    try:
        samples = _Samples(stored.arrow(LATENCY))
    except (KeyError, pa.ArrowException) as error:
        raise RecordError(f"{path}: is not a table of latencies ({error}); {AGAIN}") from None
    for entry in timed:
        latency_ns = samples.of(entry)
        wrong = [
            f"{field}, {_shown(getattr(entry, field))}"
            for field, again in latency_of(latency_ns).items()
            if not _same(getattr(entry, field), again)
        ]
        if not wrong and (percentile := _check_percentiles(entry, latency_ns)):
            wrong = [percentile]
        if wrong:
            raise RecordError(
                f"{stored.folder}: the record's {wrong[0]}, of {entry.plan}, {entry.quantity}, "
                f"batch {entry.batch} is not that of its samples; {AGAIN}"
            )


def _same(value: float | None, again: float | None) -> bool:
    if value is None or again is None:
        return value is again
    return math.isclose(value, again, rel_tol=TOLERANCE, abs_tol=TOLERANCE)


def _shown(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def scores_of(table: pa.Table) -> dict[str, dict[str, float | None]]:
    """The scores of each test set, by set and field of `SetScores`."""
    columns = {
        name: table.column(name).to_numpy()
        for name in {*MEANS.values(), *BRAIN_MEANS.values(), "brain_pixels"}
        if name in table.column_names
    }
    codes = {name: _codes(table, name) for name in ("set", "subject", "stack", "case")}
    found = {}
    for number, name in enumerate(codes["set"][1]):
        rows = codes["set"][0] == number
        part = {key: values[rows] for key, values in columns.items()}
        found[name] = _of_set(
            part, codes["subject"][0][rows], codes["stack"][0][rows], _cases(codes["case"], rows)
        )
    return found


def _of_set(
    part: dict[str, Array], subject: Array, stack: Array, cases: dict[str, int]
) -> dict[str, float | None]:
    brain = part["brain_pixels"] > 0
    dice = part["dice"][brain]
    found: dict[str, float | None] = {
        "slices": len(subject),
        "slices_with_brain": int(brain.sum()),
        "stacks": len(np.unique(stack)),
        "subjects": len(np.unique(subject)),
        "dice_median": float(np.median(dice)) if len(dice) else None,
        "subject_dice": _subject_mean(dice, subject[brain], stack[brain]),
    }
    found |= {case: cases.get(case, 0) for case in ("missed", "false_alarm", "empty_agreed")}
    found |= {field: float(part[column].mean()) for field, column in MEANS.items()}
    for field, column in BRAIN_MEANS.items():
        known = column in part and len(dice)
        found[field] = float(part[column][brain].mean()) if known else None
    return found


def _subject_mean(dice: Array, subject: Array, stack: Array) -> float | None:
    """Slice → stack → subject means."""
    if not len(dice):
        return None
    pairs, place = np.unique(np.stack([subject, stack]), axis=1, return_inverse=True)
    place = place.reshape(-1)
    stacks = np.bincount(place, weights=dice) / np.bincount(place)
    _, owner = np.unique(pairs[0], return_inverse=True)
    return float((np.bincount(owner, weights=stacks) / np.bincount(owner)).mean())


def _codes(table: pa.Table, name: str) -> tuple[Array, list[str]]:
    """A column of text as numbers, and what they stand for."""
    encoded = table.column(name).combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    return encoded.indices.to_numpy(), [str(value) for value in encoded.dictionary.to_pylist()]


def _cases(codes: tuple[Array, list[str]], rows: Array) -> dict[str, int]:
    counts = np.bincount(codes[0][rows], minlength=len(codes[1]))
    return dict(zip(codes[1], map(int, counts), strict=True))


class _Samples:
    """Raw latencies, from which those under one condition are taken."""

    def __init__(self, table: pa.Table) -> None:
        self._batch, self._process, self._latency_ns = (
            table.column(name).to_numpy() for name in ("batch", "process", "latency_ns")
        )
        self._codes = {name: _codes(table, name) for name in ("plan", "precision", "quantity")}

    def of(self, entry: Latency) -> Array:
        """Nanoseconds in order of process and query."""
        rows = self._batch == entry.batch
        for name, (codes, words) in self._codes.items():
            wanted = getattr(entry, name)
            rows &= codes == (words.index(wanted) if wanted in words else -1)
        order = np.argsort(self._process[rows], kind="stable")
        return self._latency_ns[rows][order]


def latency_of(latency_ns: Array) -> dict[str, float | None]:
    """Figures of int64 nanosecond samples by field of `Latency`; none without samples."""
    paper = latency_ns[:PAPER_QUERIES]
    count = len(latency_ns)
    found: dict[str, float | None] = {
        "queries": count,
        "median_ms": float(np.median(latency_ns)) / NS_PER_MS if count else None,
        "mean_ms": float(paper.mean()) / NS_PER_MS if count else None,
        "std_ms": float(np.std(paper, ddof=1)) / NS_PER_MS if count > 1 else None,
    }
    return found


def _check_percentiles(entry: Latency, latency_ns: Array) -> str | None:
    """A percentile is an upper estimate (MLPerf): one of the samples, not below the plain one."""
    for field, share in (("p90_ms", 0.9), ("p99_ms", 0.99)):
        value = getattr(entry, field)
        if value is None:
            continue
        nearest = float(np.abs(latency_ns / NS_PER_MS - value).min())
        plain = float(np.quantile(latency_ns, share, method="lower")) / NS_PER_MS
        if not _same(nearest, 0.0) or value < plain * (1 - TOLERANCE):
            return f"{field}, {_shown(value)}"
    return None
