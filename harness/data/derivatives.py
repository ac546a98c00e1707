"""Writes predicted masks as BIDS derivatives, `<entities>_desc-brain_mask.nii.gz`, on their grid.

Form: BIDS 1.9, Common derivatives, Imaging: masks (uint8 0/1, sidecar with Type, RawSources) and a
`dataset_description.json` of DatasetType derivative.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from itertools import pairwise
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.data.catalogue import Dataset
from harness.data.geometry import spacing_of
from harness.errors import DataError

BIDS_VERSION = "1.9.0"
# In the order that BIDS wants them in; those that count hold a number.
ENTITIES = (
    "sub",
    "ses",
    "sample",
    "task",
    "acq",
    "ce",
    "rec",
    "dir",
    "run",
    "echo",
    "part",
    "chunk",
)
ENTITY = re.compile(r"^(?!(?:run|echo|chunk)-\d*\D)([a-z]+)-[A-Za-z0-9]+$")


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
    title = f"Brain masks by {network} on {dataset.meta.title}"
    write_json(folder / "dataset_description.json", description(title, dataset.meta.licence))
    readme = f"Brain masks predicted by {network} (fetalbench) on {dataset.meta.title}.\n"
    (folder / "README.md").write_text(readme, encoding="utf-8")
    names = bids_names(dataset.slices)
    written = []
    for stack, rows in predictions.groupby("stack", sort=True):
        table = dataset.slices.loc[dataset.slices["stack"] == stack]
        if sorted(rows["slice"]) != sorted(table["slice"]):
            raise DataError(
                f"stack {stack!r}: predictions cover {len(rows)} of {len(table)} slices; "
                "evaluate the same data set that the masks are written for."
            )
        count = len(dataset.masks(str(stack)))
        written.append(_write_stack(table, rows, count, folder, names[str(stack)], network))
    return written


def _write_stack(
    table: pd.DataFrame, rows: pd.DataFrame, count: int, folder: Path, entities: str, network: str
) -> Path:
    first: dict[Any, Any] = table.to_dict("records")[0]
    affine = np.asarray(first["affine"], dtype=np.float64).reshape(4, 4)
    axis = _slice_axis(first, affine)
    parts = [part for part in entities.split("_") if part.startswith(("sub-", "ses-"))]
    place = folder.joinpath(*parts, "anat")
    place.mkdir(parents=True, exist_ok=True)
    path = place / f"{entities}_desc-brain_mask.nii.gz"
    path.write_bytes(_nifti(_file_order(_unpack(rows, count), axis), affine))
    sidecar: dict[str, Any] = {"Type": "Brain", "Description": f"Predicted by {network}"}
    if first["source"]:
        sidecar["RawSources"] = [str(first["source"])]
    write_json(place / f"{entities}_desc-brain_mask.json", sidecar)
    return path


def _unpack(rows: pd.DataFrame, count: int) -> NDArray[np.uint8]:
    """(count, height, width) uint8; slices that were left out stay empty."""
    first = rows.iloc[0]
    height, width = int(first["height"]), int(first["width"])
    masks = np.zeros((count, height, width), dtype=np.uint8)
    for index, mask in zip(rows["slice"].astype(int), rows["mask"], strict=True):
        bits = np.unpackbits(np.frombuffer(mask, dtype=np.uint8), count=height * width)
        masks[index] = bits.reshape(height, width)
    return masks


def _slice_axis(row: dict[Any, Any], affine: NDArray[np.float64]) -> int:
    """The axis of the affine that the stack was cut across.

    An import says it. Else the other two have the stack's spacing: slices may lie closer than
    pixels (a phantom on a coarse grid), so the largest spacing is no guide. Where all are alike it
    is the last axis.
    """
    if row.get("slice_axis") is not None:
        return int(row["slice_axis"])
    spacing = spacing_of(affine)
    for axis in (2, 1, 0):
        column, row_axis = (other for other in range(3) if other != axis)
        found = (spacing[row_axis], spacing[column])
        if np.allclose(found, (row["spacing_y_mm"], row["spacing_x_mm"]), rtol=1e-6, atol=0):
            return axis
    raise DataError(
        f"stack {row['stack']!r}: its affine does not have its spacing; make the data set anew."
    )


def _file_order(masks: NDArray[np.uint8], axis: int) -> NDArray[np.uint8]:
    """From (slices, rows, columns) to the index order that the affine speaks of."""
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


def bids_names(slices: pd.DataFrame) -> dict[str, str]:
    """The entities of each stack's file, `sub-…[_ses-…]…`, no two alike.

    A stack that is called by BIDS entities keeps its name. Others become acquisitions of their
    subject; letters that BIDS does not allow fall away, and what is alike then is counted.
    """
    stacks = slices.drop_duplicates("stack").sort_values("stack")
    subjects = _labels(sorted(set(stacks["subject"].astype(str))))
    names: dict[str, str] = {}
    others: list[tuple[str, str]] = []
    for stack, subject, session in zip(
        stacks["stack"].astype(str), stacks["subject"].astype(str), stacks["session"], strict=True
    ):
        if _is_bids(stack, subject, str(session)):
            names[stack] = stack
            continue
        parts = [subjects[subject]]
        if session:
            parts.append(f"ses-{_alphanumeric(str(session).removeprefix('ses-'))}")
        rest = "" if stack == subject else stack.removeprefix(f"{subject}_")
        parts += [f"acq-{_alphanumeric(rest)}"] if rest else []
        others.append((stack, "_".join(parts)))
    taken = set(names.values())
    for stack, name in others:
        names[stack] = _free(name, "_run-", taken)
    return names


def _is_bids(stack: str, subject: str, session: str) -> bool:
    """Whether a stack is called by entities in BIDS' order, of its own subject and session."""
    parts = stack.split("_")
    matches = [ENTITY.match(part) for part in parts]
    keys = [match[1] for match in matches if match]
    if len(keys) != len(parts) or any(key not in ENTITIES for key in keys):
        return False
    places = [ENTITIES.index(key) for key in keys]
    in_order = all(one < two for one, two in pairwise(places))
    return in_order and parts[0] == subject and session in ("", *parts[1:2])


def _labels(subjects: Sequence[str]) -> dict[str, str]:
    """`sub-…` for each subject; one that is a BIDS label already keeps it."""
    labels = {subject: subject for subject in subjects if re.match(r"^sub-[A-Za-z0-9]+$", subject)}
    taken = set(labels)
    for subject in subjects:
        if subject not in labels:
            name = f"sub-{_alphanumeric(subject.removeprefix('sub-'))}"
            labels[subject] = _free(name, "x", taken)
    return labels


def _free(name: str, mark: str, taken: set[str]) -> str:
    """The name, or with a mark and the first number that makes it another; it is taken then."""
    free, number = name, 1
    while free in taken:
        number += 1
        free = f"{name}{mark}{number}"
    taken.add(free)
    return free


def _alphanumeric(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text) or "x"


def description(name: str, licence: str = "") -> dict[str, Any]:
    """The content of a derivative's `dataset_description.json`; no licence if it is not known."""
    try:
        own = version("fetalbench")
    except PackageNotFoundError:
        own = "unknown"
    return {
        "Name": name,
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        **({"License": licence} if licence else {}),
        "GeneratedBy": [{"Name": "fetalbench", "Version": own}],
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write strict JSON."""
    path.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n", encoding="utf-8")
