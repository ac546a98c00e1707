"""A case: one stack with its mask, as a reader finds it, and how it is read and judged."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.data.nifti import NiftiFile, check_nifti, read_voxels
from harness.data.orientation import orientation_name
from harness.data.writer import Stack
from harness.errors import DataError

# An age outside this is none of a fetus in weeks (it may be the mother's, in years).
FETAL_WEEKS = (14.0, 43.0)


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where one stack lies, and which values of its mask are the brain.

    `fault` is set by a reader that already knows it cannot be used, `left_out` by one that knows
    it was never meant to be; such a case is listed but not held against the source.
    """

    stack: str
    subject: str
    image: Path
    mask: Path | None
    source: str
    session: str = ""
    set_name: str = ""
    gestational_age_weeks: float | None = None
    fault: str = ""
    left_out: str = ""
    brain_values: tuple[int, ...] = (1,)
    other_values: tuple[int, ...] = ()

    def load(self, set_name: str) -> Stack:
        """Check and read the stack. Raises `DataError` on anything unfit."""
        return load_case(self, set_name)


def tidy(name: str) -> str:
    """Letters, digits and `_.-` only, as names of stacks are written."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).lstrip("_.-") or "case"


def is_fetal(weeks: float) -> bool:
    """Whether an age in weeks is one of a fetus that is imaged."""
    return FETAL_WEEKS[0] <= weeks <= FETAL_WEEKS[1]


def check_case(case: Case) -> tuple[NiftiFile, NiftiFile]:
    """Test both headers and that they agree, without reading voxels. Raises `DataError`."""
    if case.fault:
        raise DataError(case.fault)
    image = check_nifti(case.image)
    if case.mask is None:
        raise DataError(f"{case.image}: has no brain mask; add one or take the stack out.")
    mask = check_nifti(case.mask)
    difference = image.same_grid(mask)
    if difference:
        raise DataError(f"{case.mask}: {difference}; draw the mask on the stack's own grid.")
    return image, mask


def load_case(case: Case, set_name: str) -> Stack:
    """Check and read one case; slices are cut across the axis of largest spacing.

    The arrays are (slices, rows, columns): of the two axes within a slice the later one in the
    file runs down, the earlier one to the right. Raises `DataError` on anything unfit.
    """
    image, mask = check_case(case)
    voxels = read_voxels(image)
    if voxels.min() == voxels.max():
        raise DataError(f"{case.image}: every voxel is {voxels.flat[0]:g}; export it anew.")
    brain = _read_mask(mask, case)
    axis = image.slice_axis
    column, row = (other for other in range(3) if other != axis)
    order = (axis, row, column)
    step = image.affine[:3, axis]
    return Stack(
        name=case.stack,
        subject=case.subject,
        session=case.session,
        set_name=set_name,
        images=voxels.transpose(order),
        masks=brain.transpose(order),
        spacing_mm=(image.spacing_mm[row], image.spacing_mm[column]),
        thickness_mm=image.spacing_mm[axis],
        affine=image.affine,
        orientation=orientation_name(step),
        source=case.source,
        gestational_age_weeks=case.gestational_age_weeks,
    )


def _read_mask(mask: NiftiFile, case: Case) -> NDArray[np.uint8]:
    values = read_voxels(mask)
    brain = np.isin(values, case.brain_values)
    known = brain | np.isin(values, (0, *case.other_values))
    strange = values[~known]
    if strange.size:
        # A few of them say enough; sorting millions would take seconds.
        found = np.unique(strange[:1000])
        shown = ", ".join(f"{value:g}" for value in found[:5]) + (", …" if len(found) > 5 else "")
        raise DataError(
            f"{mask.path}: holds {shown}, which dataset.json does not name; add the labels there."
            if case.other_values or case.brain_values != (1,)
            else f"{mask.path}: is no binary mask, it holds {shown}; "
            "save brain as 1 and the rest as 0."
        )
    return brain.astype(np.uint8)
