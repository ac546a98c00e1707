"""How much of the brain lies outside of what a network is shown, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.data.description import DatasetMeta
from harness.data.fitting import FitMode, step_of, visible
from harness.data.naming import array_path
from harness.errors import DataError


class Judged(Protocol):
    """What of a protocol's [evaluation] says whether a data set will do."""

    @property
    def sets(self) -> Sequence[str]: ...
    @property
    def largest_outside_share(self) -> float: ...


class Window(Protocol):
    """What of a protocol's [input] decides what is seen."""

    @property
    def height(self) -> int: ...
    @property
    def width(self) -> int: ...
    @property
    def fit(self) -> FitMode: ...
    @property
    def pixel_mm(self) -> float | None: ...


def outside_share(
    masks: NDArray[np.uint8], spacing_mm: tuple[float, float], window: Window
) -> float:
    """Share of the brain's voxels in (slices, h, w) masks that the network's grid leaves out."""
    step = step_of(window.fit, spacing_mm, window.pixel_mm)
    rows = visible(masks.shape[1], window.height, window.fit, step[0])
    columns = visible(masks.shape[2], window.width, window.fit, step[1])
    if rows.all() and columns.all():
        return 0.0
    brain = masks.sum(axis=0, dtype=np.int64)
    whole = int(brain.sum())
    return 1 - int(brain[rows][:, columns].sum()) / whole if whole else 0.0


def outside_shares(folder: Path, window: Window) -> dict[str, float]:
    """The share by stack of a prepared data set; arrays are read only where some is cut off."""
    return {
        str(row["stack"]): outside_share(
            np.load(folder / array_path(str(row["stack"]), "masks"), mmap_mode="r")
            if _cuts(row, window)
            else np.zeros((1, 1, 1), np.uint8),
            (row["spacing_y_mm"], row["spacing_x_mm"]),
            window,
        )
        for row in _stacks(folder)
    }


def fault_of(shares: dict[str, float], window: Window, largest: float) -> str:
    """Why a protocol must not be run on these stacks, or ""."""
    beyond = {stack: share for stack, share in shares.items() if share > largest}
    if not beyond:
        return ""
    worst = max(beyond, key=lambda stack: beyond[stack])
    return (
        f"{sentence(worst, beyond[worst], window)}"
        + (f" (and more than {largest:.0%} of {len(beyond) - 1} more)" if len(beyond) > 1 else "")
        + f'; the scores would measure the window. Take a protocol with fit = "resample" and a '
        f"pixel_mm that shows the whole field of view (small_data does), or a larger size; "
        f"up to {largest:.0%} is allowed (evaluation.largest_outside_share)."
    )


def sentence(stack: str, share: float, window: Window) -> str:
    """What a stack loses, in words."""
    return (
        f"{stack}: {share:.1%} of the brain lies outside the {window.height}×{window.width} "
        f"window of the network (fit = {window.fit})"
    )


def require_fit(
    folder: Path, meta: DatasetMeta, window: Window, judged: Judged, *, evaluates: bool = True
) -> list[str]:
    """What stacks lose, in words. Raises `DataError` where a run could not be scored fairly.

    That is where no test set of the protocol holds brain, or more of a stack's brain than the
    protocol's share lies outside the network's window.
    """
    wanted = judged.sets
    tests = [meta.sets[name] for name in wanted if name in meta.sets]
    if evaluates and not any(counts.slices_with_brain for counts in tests):
        raise DataError(
            f"{folder}: no slice with brain is in the test sets {' and '.join(wanted)}; import "
            "it again with one, as in --split NAME=normal or --split-ratio 0.7/0.15/0.15."
        )
    shares = outside_shares(folder, window)
    fault = fault_of(shares, window, judged.largest_outside_share)
    if fault:
        raise DataError(f"{folder}: {fault}")
    return [sentence(stack, share, window) for stack, share in shares.items() if share > 0]


def _stacks(folder: Path) -> Iterator[dict[str, Any]]:
    """One row of each stack, without the cost of a table of all."""
    columns = ["stack", "height", "width", "spacing_y_mm", "spacing_x_mm"]
    try:
        # `read_table` would import pandas, half a second of every `plan`.
        file = pq.ParquetFile(folder / "slices.parquet")
        table = file.read(columns=columns).to_pylist()
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / 'slices.parquet'}: cannot be read ({error}).") from None
    missing = [name for name in columns if table and name not in table[0]]
    if missing:
        raise DataError(f"{folder / 'slices.parquet'}: lacks {', '.join(missing)}.")
    seen: set[str] = set()
    for row in table:
        if row["stack"] not in seen:
            seen.add(row["stack"])
            yield row


def _cuts(row: dict[str, Any], window: Window) -> bool:
    step = step_of(window.fit, (row["spacing_y_mm"], row["spacing_x_mm"]), window.pixel_mm)
    rows = visible(int(row["height"]), window.height, window.fit, step[0])
    columns = visible(int(row["width"]), window.width, window.fit, step[1])
    return not (rows.all() and columns.all())
