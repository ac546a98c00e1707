"""Writes a data set folder, whole or not at all (the folder's form: `harness.data.catalogue`)."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.data.catalogue import (
    SETS,
    Dataset,
    array_digest,
    content_hash,
    open_dataset,
    sort_slices,
)
from harness.data.description import DatasetMeta, SetCounts
from harness.data.naming import array_path, name_fault
from harness.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Stack:
    """One stack on its way into a data set.

    `images` is (slices, height, width) float, `masks` the same shape of 0 and 1; `affine` (4, 4)
    maps voxel indices of the source image to millimetres, of which `slice_axis` runs across the
    slices. `taken` are the slices that count where not all do; the arrays hold every one, so that
    predictions go back to the source's grid. `extra` holds one more column each,
    with one value a slice, such as the strengths of a phantom's degradations.
    """

    name: str
    subject: str
    set_name: str
    images: NDArray[Any]
    masks: NDArray[Any]
    spacing_mm: tuple[float, float]
    thickness_mm: float
    affine: NDArray[np.float64]
    orientation: str
    session: str = ""
    source: str = ""
    gestational_age_weeks: float | None = None
    slice_axis: int | None = None
    taken: tuple[int, ...] | None = None
    warnings: tuple[str, ...] = ()
    extra: Mapping[str, Sequence[float]] = field(default_factory=dict)


class DatasetWriter:
    """Writes a data set into a temporary folder beside its place and renames it at the end.

    Use it as a context manager: an exception leaves nothing behind. Raises `DataError` where the
    folder exists already and `force` is not set.
    """

    def __init__(self, folder: Path, meta: DatasetMeta, *, force: bool = False) -> None:
        self.folder = Path(folder)
        self.meta = meta
        self._check_place(force)
        self._rows: list[dict[str, Any]] = []
        self._digests: dict[str, str] = {}
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._sweep()
        self._temporary = Path(
            tempfile.mkdtemp(prefix=f".{self.folder.name}-", dir=self.folder.parent)
        )
        # The lock dies with this process: the next one knows what it may sweep.
        self._lock = os.open(self._temporary, os.O_RDONLY)
        fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (self._temporary / "stacks").mkdir()

    def _sweep(self) -> None:
        """Remove the temporary folders of writers that were killed."""
        for left in self.folder.parent.glob(f".{self.folder.name}-????????"):
            descriptor = os.open(left, os.O_RDONLY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(left, ignore_errors=True)
            except OSError:
                pass  # its writer lives
            finally:
                os.close(descriptor)

    def _check_place(self, force: bool) -> None:
        if not self.folder.exists():
            return
        if not force:
            raise DataError(f"{self.folder}: exists already; choose another --out or add --force.")
        # --force replaces a data set, never somebody's folder of other things.
        if not self.folder.is_dir() or (
            any(self.folder.iterdir()) and not (self.folder / "dataset.json").is_file()
        ):
            raise DataError(
                f"{self.folder}: is no data set, so it is not replaced; choose another."
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        shutil.rmtree(self._temporary, ignore_errors=True)
        os.close(self._lock)

    def add_stack(self, stack: Stack) -> None:
        """Write one stack's arrays and remember its rows. Raises `DataError` on a wrong stack."""
        fault = name_fault(stack.name)
        if fault:
            raise DataError(f"stack name {stack.name!r} is not allowed: it {fault}.")
        if stack.name in self._digests:
            raise DataError(f"stack {stack.name!r} comes twice; give each stack its own name.")
        if stack.set_name not in SETS:
            raise DataError(f"set {stack.set_name!r} is unknown; sets are {', '.join(SETS)}.")
        images = np.ascontiguousarray(stack.images, dtype=np.float32)
        masks = np.ascontiguousarray(stack.masks, dtype=np.uint8)
        if images.ndim != 3 or images.shape != masks.shape:
            raise DataError(
                f"stack {stack.name!r}: images {images.shape} and masks {masks.shape} must both "
                "be (slices, height, width)."
            )
        for what, array in (("images", images), ("masks", masks)):
            np.save(self._temporary / array_path(stack.name, what), array)
        self._digests[stack.name] = array_digest(images, masks)
        age = stack.gestational_age_weeks
        for index in range(len(images)) if stack.taken is None else stack.taken:
            row = {
                "subject": stack.subject,
                "session": stack.session,
                "stack": stack.name,
                "slice": index,
                "set": stack.set_name,
                "height": images.shape[1],
                "width": images.shape[2],
                "spacing_y_mm": float(stack.spacing_mm[0]),
                "spacing_x_mm": float(stack.spacing_mm[1]),
                "thickness_mm": float(stack.thickness_mm),
                "brain_pixels": int(masks[index].sum()),
                "affine": [float(value) for value in np.asarray(stack.affine).ravel()],
                "source": stack.source,
                "orientation": stack.orientation,
                "gestational_age_weeks": float("nan") if age is None else float(age),
            }
            if stack.slice_axis is not None:
                row["slice_axis"] = stack.slice_axis
            row.update({name: float(values[index]) for name, values in stack.extra.items()})
            self._rows.append(row)

    def finish(self, check: Callable[[Dataset], None] | None = None) -> Dataset:
        """Write table and description, put the folder in its place and open it.

        `check` sees the data set before it is put there; what it raises leaves nothing behind.
        """
        if not self._rows:
            raise DataError(f"{self.folder}: no stack is left to write; see the exclusions.")
        table = sort_slices(pd.DataFrame(self._rows))
        meta = self.meta.model_copy(
            update={
                "hash": content_hash(table, self._digests),
                "sets": _counts(table),
                "gestational_age_weeks": _ages(table),
            }
        )
        pq.write_table(
            pa.Table.from_pandas(table, preserve_index=False),
            self._temporary / "slices.parquet",
        )
        text = json.dumps(meta.model_dump(mode="json"), indent=2, allow_nan=False)
        (self._temporary / "dataset.json").write_text(text + "\n", encoding="utf-8")
        self._temporary.chmod(0o755)
        if check is not None:
            check(open_dataset(self._temporary))
        if self.folder.exists():
            retired = self._temporary.with_name(self._temporary.name + "-old")
            self.folder.replace(retired)
            self._temporary.replace(self.folder)
            shutil.rmtree(retired)
        else:
            self._temporary.replace(self.folder)
        return open_dataset(self.folder)


def _counts(table: pd.DataFrame) -> dict[str, SetCounts]:
    counts = {}
    for name in SETS:
        rows = table[table["set"] == name]
        if not rows.empty:
            counts[name] = SetCounts(
                slices=len(rows),
                slices_with_brain=int(np.count_nonzero(rows["brain_pixels"])),
                stacks=len(set(rows["stack"])),
                subjects=len(set(rows["subject"])),
            )
    return counts


def _ages(table: pd.DataFrame) -> dict[str, float]:
    """Weeks of gestation by stack, where they are known."""
    known = table.drop_duplicates("stack").dropna(subset=["gestational_age_weeks"])
    return dict(
        zip(known["stack"].astype(str), known["gestational_age_weeks"].astype(float), strict=True)
    )
