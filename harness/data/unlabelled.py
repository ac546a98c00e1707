"""Stacks without masks: which files are meant, and one stack read for a network.

A source is a NIfTI file, a folder of them, or a BIDS folder; masks and what else is no stack are
left out as an import leaves them out (`harness.data.readers`).
"""

from __future__ import annotations

import gzip
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.data.cases import Case
from harness.data.derivatives import bids_names
from harness.data.importing import told
from harness.data.nifti import NiftiFile, check_nifti, not_here, read_voxels
from harness.data.orientation import orientation_name
from harness.data.readers import detect_form, find_cases
from harness.data.readers.files import NIFTI, stem
from harness.errors import DataError

FORMS = ("bids", "nifti")
# A label map of the brain has ten structures or so; the emptiest image has far more grey levels.
MOST_LABELS = 16


@dataclass(frozen=True, kw_only=True)
class Unlabelled:
    """One stack as it is read: (slices, rows, columns) float32, spacing (down, across) in mm.

    `axis` is the file's axis across the slices, `voxel_ml` the volume of one voxel.
    """

    case: Case
    file: NiftiFile
    axis: int
    images: NDArray[np.float32]
    spacing_mm: tuple[float, float]
    thickness_mm: float
    orientation: str
    warnings: tuple[str, ...]

    @property
    def voxel_ml(self) -> float:
        """The volume of one voxel in millilitres."""
        return float(abs(np.linalg.det(self.file.affine[:3, :3]))) / 1000

    def mask_file(self, masks: NDArray[np.uint8]) -> bytes:
        """A packed NIfTI file of masks (slices, rows, columns) on the source's own grid.

        The header is the source's: dimensions, sform, qform and unit are kept as they are.
        """
        column, row = (other for other in range(3) if other != self.axis)
        turned = masks.transpose(np.argsort((self.axis, row, column)))
        header = self.file.header.copy()
        shape = [int(side) for side in header["dim"][1 : int(header["dim"][0]) + 1]]
        header.set_data_dtype(np.uint8)
        header.set_slope_inter(1, 0)
        header["cal_min"] = header["cal_max"] = 0
        kind = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
        image = kind(turned.reshape(shape, order="F"), None, header)
        # Without the time of writing the same mask gives the same file.
        return gzip.compress(image.to_bytes(), mtime=0)


def find_stacks(sources: Sequence[Path], slice_axis: Sequence[str] = ()) -> dict[str, Case]:
    """The stacks of files and folders by the BIDS entities that their masks will be called.

    Raises `DataError` for a source that is missing or holds no stack, `UsageError` for a slice axis
    of a stack that is not among them.
    """
    cases: list[Case] = []
    for source in sources:
        cases += _of_folder(source) if source.is_dir() else [_of_file(source)]
    unique = list({case.image.resolve(): case for case in cases}.values())
    counted = _counted(told(unique, None, slice_axis))
    names = bids_names(
        pd.DataFrame(
            [{"stack": c.stack, "subject": c.subject, "session": c.session} for c in counted]
        )
    )
    return {names[case.stack]: case for case in counted}


def _of_file(path: Path) -> Case:
    absent = not_here(path)
    if absent:
        raise DataError(f"{path}: {absent}")
    if not NIFTI.search(path.name):
        raise DataError(f"{path}: is not a NIfTI file (.nii, .nii.gz); convert it to one.")
    name = stem(path)
    if name.lower().endswith("_t2w"):
        name = name[:-4]
    parts = {part.partition("-")[0]: part for part in name.split("_") if "-" in part}
    return Case(
        stack=name,
        subject=parts.get("sub", name),
        session=parts.get("ses", ""),
        image=path,
        mask=None,
        source=path.name,
    )


def _of_folder(folder: Path) -> list[Case]:
    form = detect_form(folder)
    if form not in FORMS:
        raise DataError(
            f"{folder}: is a data set in the form {form!r}; name its folder of NIfTI images."
        )
    cases = [case for case in find_cases(folder, form) if not case.left_out]
    # A subject's folder out of a BIDS data set is no such set; its names say all the same.
    named = [case.image.name.startswith("sub-") for case in cases]
    if form == "nifti" and all(named):
        return [replace(_of_file(case.image), source=case.source) for case in cases]
    return [replace(case, fault="") for case in cases]


def _counted(cases: list[Case]) -> list[Case]:
    """Two stacks of one name, out of two folders, become two names."""
    seen: dict[str, int] = {}
    counted = []
    for case in cases:
        seen[case.stack] = number = seen.get(case.stack, 0) + 1
        counted.append(case if number == 1 else replace(case, stack=f"{case.stack}_{number}"))
    return counted


def count_slices(cases: Iterable[Case]) -> int:
    """How many slices the stacks hold by their headers; those that cannot be read count none.

    Raises the first `DataError` if none can be read.
    """
    total, faults = 0, []
    for case in cases:
        try:
            file = check_nifti(case.image)
            total += file.shape[file.slice_axis(case.slice_axis)[0]]
        except DataError as error:
            faults.append(error)
    if faults and not total:
        raise faults[0]
    return total


def read_stack(case: Case) -> Unlabelled:
    """Check and read one stack. Raises `DataError` on anything unfit, a mask among them."""
    file = check_nifti(case.image)
    axis, doubt = file.slice_axis(case.slice_axis)
    voxels = read_voxels(file)
    _require_image(case.image, voxels)
    column, row = (other for other in range(3) if other != axis)
    return Unlabelled(
        case=case,
        file=file,
        axis=axis,
        images=voxels.transpose((axis, row, column)),
        spacing_mm=(file.spacing_mm[row], file.spacing_mm[column]),
        thickness_mm=file.spacing_mm[axis],
        orientation=orientation_name(file.affine[:3, axis]),
        warnings=tuple(text for text in (*file.placement.warnings, doubt) if text),
    )


def _require_image(path: Path, voxels: NDArray[np.float32]) -> None:
    if voxels.min() == voxels.max():
        raise DataError(f"{path}: every voxel is {voxels.flat[0]:g}; export it again.")
    # A few voxels show that most images hold more grey levels; only masks are read to the end.
    few = np.unique(voxels.ravel(order="K")[:: max(1, voxels.size // 4096)])
    if len(few) > MOST_LABELS:
        return
    values = np.unique(voxels)
    if len(values) <= MOST_LABELS and (values == np.round(values)).all():
        shown = ", ".join(f"{value:g}" for value in values[:4])
        raise DataError(
            f"{path}: holds {len(values)} whole values only ({shown}{', …' * (len(values) > 4)}), "
            "as a mask or label map does; name the MR image."
        )
