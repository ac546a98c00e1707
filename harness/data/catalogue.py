"""The data set folder: its form, its hash and its one reader (its writer: `harness.data.writer`).

```
<dataset>/dataset.json              name, source, counts, exclusions, warnings, content hash
<dataset>/slices.parquet            one row a slice
<dataset>/stacks/<stack>.images.npy float32 (slices, height, width), original grid and intensities
<dataset>/stacks/<stack>.masks.npy  uint8 0/1 (slices, height, width)
```
The hash covers the slice table's canonical text and the bytes of all arrays, not the encoding of
the Parquet file: another version of the Parquet library does not make another data set.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness.data.description import DatasetMeta, read_meta
from harness.data.naming import array_path, name_fault
from harness.errors import DataError

SETS = ("train", "val", "normal", "challenging")
COLUMNS = (
    "subject",
    "session",
    "stack",
    "slice",
    "set",
    "height",
    "width",
    "spacing_y_mm",
    "spacing_x_mm",
    "thickness_mm",
    "brain_pixels",
    "affine",
    "source",
    "orientation",
    "gestational_age_weeks",
)


@dataclass(frozen=True)
class Dataset:
    """An opened data set; `slices` is sorted by subject, stack and slice."""

    folder: Path
    meta: DatasetMeta
    slices: pd.DataFrame

    def images(self, stack: str) -> NDArray[np.float32]:
        """Memory-mapped (slices, height, width) float32, original intensities."""
        return self._array(stack, "images", np.float32)

    def masks(self, stack: str) -> NDArray[np.uint8]:
        """Memory-mapped (slices, height, width) uint8 of 0 and 1."""
        return self._array(stack, "masks", np.uint8)

    def rows(self, set_name: str) -> pd.DataFrame:
        """The rows of one set, in the table's order. Raises `DataError` where it holds none."""
        rows = self.slices.loc[self.slices["set"] == set_name]
        if rows.empty:
            held = ", ".join(sorted(self.meta.sets))
            raise DataError(f"{self.folder}: holds no set {set_name!r}; it holds {held}.")
        return rows.reset_index(drop=True)

    def _array(self, stack: str, what: str, dtype: type[np.generic]) -> NDArray[Any]:
        rows = self.slices.loc[self.slices["stack"] == stack]
        if rows.empty:
            raise DataError(f"{self.folder}: holds no stack {stack!r}; see its slices.parquet.")
        path = self.folder / array_path(stack, what)
        try:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise DataError(f"{path}: cannot be read ({error}); make the data set anew.") from None
        # Slices that do not count (nobody annotated them) have no row, but their place here.
        count = max(int(rows["slice"].max()) + 1, len(array) if array.ndim else 0)
        shape = (count, int(rows["height"].iloc[0]), int(rows["width"].iloc[0]))
        if array.shape != shape or array.dtype != dtype:
            raise DataError(
                f"{path}: holds {array.dtype} {array.shape}, the slice table says "
                f"{np.dtype(dtype)} {shape}; make the data set anew."
            )
        return array


def open_dataset(folder: Path, *, verify: bool = False) -> Dataset:
    """Open a data set folder; with `verify` the arrays are read and the hash is recomputed.

    Raises `DataError` with the remedy where the folder is no data set of this version or, with
    `verify`, where its content has changed.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise DataError(
            f"{folder}: no such folder; make one with `fetalbench data phantom` or "
            "`fetalbench data import`."
        )
    meta = read_meta(folder)
    try:
        table = pq.read_table(folder / "slices.parquet").to_pandas()
    except (OSError, pa.ArrowException) as error:
        raise DataError(
            f"{folder / 'slices.parquet'}: cannot be read ({error}); make the data set anew."
        ) from None
    missing = [column for column in COLUMNS if column not in table]
    if missing:
        raise DataError(
            f"{folder / 'slices.parquet'}: lacks {', '.join(missing)}; make the data set anew."
        )
    bad = [stack for stack in table["stack"].unique() if name_fault(str(stack))]
    if bad:
        raise DataError(f"{folder / 'slices.parquet'}: stack name {bad[0]!r} is not allowed.")
    dataset = Dataset(folder=folder, meta=meta, slices=sort_slices(table))
    if verify:
        _verify(dataset)
    return dataset


def _verify(dataset: Dataset) -> None:
    digests = {
        stack: array_digest(dataset.images(stack), dataset.masks(stack))
        for stack in dataset.slices["stack"].unique()
    }
    if content_hash(dataset.slices, digests) != dataset.meta.hash:
        raise DataError(
            f"{dataset.folder}: its content does not match the hash in dataset.json; "
            "it was changed after it was written, make it anew."
        )


def sort_slices(table: pd.DataFrame) -> pd.DataFrame:
    """The table in the order of subject, stack and slice, which no set decides."""
    return table.sort_values(["subject", "stack", "slice"], kind="stable", ignore_index=True)


def array_digest(images: NDArray[np.float32], masks: NDArray[np.uint8]) -> str:
    """sha256 over type, shape and bytes of both arrays."""
    digest = hashlib.sha256()
    for array in (images, masks):
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def content_hash(slices: pd.DataFrame, digests: Mapping[str, str]) -> str:
    """sha256 over the canonical text of the sorted slice table and the digests of the arrays."""
    columns = sorted(slices.columns)
    digest = hashlib.sha256(json.dumps(columns).encode())
    for row in slices[columns].itertuples(index=False, name=None):
        digest.update(json.dumps([_plain(value) for value in row], allow_nan=False).encode())
    for stack in sorted(digests):
        digest.update(f"{stack} {digests[stack]}\n".encode())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray | list | tuple):
        return [float(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or (isinstance(value, float) and value != value):
        return None
    return value
