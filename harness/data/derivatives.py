"""Writes predicted masks as BIDS derivatives, `<entities>_desc-brain_mask.nii.gz`, on their grid.

Form: BIDS 1.9, Common derivatives, Imaging: masks (uint8 0/1, sidecar with Type, RawSources) and a
`dataset_description.json` of DatasetType derivative.
"""

from __future__ import annotations

import gzip
import json
import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.data.catalogue import Dataset
from harness.data.nifti import slice_axis_of, spacing_of
from harness.errors import DataError

BIDS_VERSION = "1.9.0"
ENTITY = re.compile(r"^(sub|ses|sample|task|acq|ce|rec|dir|run|echo|part|chunk)-[A-Za-z0-9]+$")


def write_derivatives(
    dataset: Dataset, predictions: pd.DataFrame, folder: Path, *, network: str
) -> list[Path]:
    """Write one mask a stack; returns their paths.

    `predictions` has the columns of predictions.parquet (stack, slice, height, width, mask as
    packed bits on the original grid). The affine is the source file's own. Raises `DataError`
    where the folder is not empty or a stack's predictions are incomplete.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError(f"{folder}: is not empty; choose another --out.")
    folder.mkdir(parents=True, exist_ok=True)
    _write_json(folder / "dataset_description.json", _description(dataset, network))
    readme = f"Brain masks predicted by {network} (fetalbench) on {dataset.meta.title}.\n"
    (folder / "README.md").write_text(readme, encoding="utf-8")
    written = []
    for stack, rows in predictions.groupby("stack", sort=True):
        written.append(_write_stack(dataset, str(stack), rows, folder, network))
    return written


def _write_stack(
    dataset: Dataset, stack: str, rows: pd.DataFrame, folder: Path, network: str
) -> Path:
    table = dataset.slices.loc[dataset.slices["stack"] == stack]
    if sorted(rows["slice"]) != sorted(table["slice"]):
        raise DataError(
            f"stack {stack!r}: predictions cover {len(rows)} of {len(table)} slices; "
            "evaluate the same data set that the masks are written for."
        )
    first: dict[Any, Any] = table.to_dict("records")[0]
    affine = np.asarray(first["affine"], dtype=np.float64).reshape(4, 4)
    masks = _unpack(rows)
    subject, session, entities = _entities(stack, str(first["subject"]), str(first["session"]))
    place = folder / subject / session / "anat" if session else folder / subject / "anat"
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{entities}_desc-brain_mask.nii.gz"
    path.write_bytes(_nifti(_file_order(masks, affine), affine))
    sidecar: dict[str, Any] = {"Type": "Brain", "Description": f"Predicted by {network}"}
    if first["source"]:
        sidecar["RawSources"] = [str(first["source"])]
    _write_json(place / f"{entities}_desc-brain_mask.json", sidecar)
    return path


def _unpack(rows: pd.DataFrame) -> NDArray[np.uint8]:
    """(slices, height, width) uint8 in the order of the slice index."""
    masks = []
    for row in rows.sort_values("slice").to_dict("records"):
        height, width = int(row["height"]), int(row["width"])
        bits = np.unpackbits(np.frombuffer(row["mask"], dtype=np.uint8), count=height * width)
        masks.append(bits.reshape(height, width))
    return np.stack(masks)


def _file_order(masks: NDArray[np.uint8], affine: NDArray[np.float64]) -> NDArray[np.uint8]:
    """From (slices, rows, columns) to the index order that the affine speaks of."""
    axis = slice_axis_of(spacing_of(affine))
    column, row = (other for other in range(3) if other != axis)
    return masks.transpose(np.argsort((axis, row, column)))


def _nifti(mask: NDArray[np.uint8], affine: NDArray[np.float64]) -> bytes:
    image = nib.Nifti1Image(mask, affine)
    image.header.set_xyzt_units("mm")
    # The sform alone: a qform cannot hold the shear that some affines have.
    image.header.set_sform(affine, code="scanner")
    image.header.set_qform(None, code="unknown")
    # Without the time of writing the same mask gives the same file.
    return gzip.compress(image.to_bytes(), mtime=0)


def _entities(stack: str, subject: str, session: str) -> tuple[str, str, str]:
    """Folder of the subject, of the session ("" if none) and the file's entities, all BIDS."""
    parts = stack.split("_")
    if all(ENTITY.match(part) for part in parts) and parts[0] == subject:
        return subject, session, stack
    label = f"sub-{_alphanumeric(subject.removeprefix('sub-'))}"
    rest = stack.removeprefix(subject).strip("_")
    return label, "", f"{label}_acq-{_alphanumeric(rest)}" if rest else label


def _alphanumeric(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text) or "x"


def _description(dataset: Dataset, network: str) -> dict[str, Any]:
    try:
        own = version("fetalbench")
    except PackageNotFoundError:
        own = "unknown"
    return {
        "Name": f"Brain masks by {network} on {dataset.meta.title}",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "License": dataset.meta.licence,
        "GeneratedBy": [{"Name": "fetalbench", "Version": own}],
    }


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
