"""A record and the files beside it, read back."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from harness.errors import RecordError
from harness.protocol import Protocol, recorded
from harness.records.schema import Record

if TYPE_CHECKING:
    # Only what reads a table pays for the library.
    import pandas as pd
    import pyarrow as pa

# Every name of a published file.
RECORD = "record.json"
GALLERY = "gallery.parquet"
GALLERY_DIGEST = "gallery.sha256"
SLICES = "slices.parquet"
PREDICTIONS = "predictions.parquet"
PLAN_SLICES = "plan_slices.parquet"
HISTORY = "history.parquet"
LATENCY = "latency.parquet"
STREAM = "stream.parquet"
WEIGHTS = "weights.safetensors"

NOT_THE_FILE = (
    "is not the file that the record names; if a run is in progress, try again after it, else "
    "run the cell again."
)


@dataclass(frozen=True)
class StoredRecord:
    """A record and the folder that holds its raw samples."""

    record: Record
    folder: Path

    def protocol(self) -> Protocol:
        """The protocol that the cell was run under. Raises `RecordError`."""
        return recorded(self.record.protocol, str(self.folder / RECORD))

    def content(self, name: str) -> bytes:
        """A file of the record. Raises `RecordError` if it is absent or altered."""
        path = self.folder / name
        entry = self.record.files.get(name)
        if entry is None:
            raise RecordError(f"{self.folder}: the record has no {name}; run the cell again.")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror}).") from None
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise RecordError(f"{path}: {NOT_THE_FILE}")
        return content

    def arrow(self, name: str) -> pa.Table:
        """A Parquet file of the record, as Arrow has it. Raises `RecordError`."""
        return read_parquet(self.content(name), self.folder / name)

    def table(self, name: str) -> pd.DataFrame:
        """A Parquet file of the record. Raises `RecordError` if it is absent or altered."""
        return self.arrow(name).to_pandas()

    def slices(self) -> pd.DataFrame:
        """Scores slice by slice."""
        return self.table(SLICES)

    def predictions(self) -> pd.DataFrame:
        """Predicted masks, packed bits on the original grid."""
        return self.table(PREDICTIONS)

    def latency_samples(self) -> pd.DataFrame:
        """Raw latencies in nanoseconds."""
        return self.table(LATENCY)

    def plan_slices(self) -> pd.DataFrame:
        """Scores slice by slice of each execution plan, and the pixels that it changed."""
        return self.table(PLAN_SLICES)

    def history(self) -> pd.DataFrame:
        """Loss and validation Dice epoch by epoch."""
        return self.table(HISTORY)

    def stream_responses(self) -> pd.DataFrame:
        """The response to every slice of the deadline tests."""
        return self.table(STREAM)


def read_parquet(content: bytes, path: Path) -> pa.Table:
    """A Parquet file whose content is at hand. Raises `RecordError` if it is not one."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(io.BytesIO(content)).read()
    except (pa.ArrowException, OSError) as error:
        first = str(error).partition("\n")[0]
        raise RecordError(f"{path}: is not Parquet ({first}); run the cell again.") from None
