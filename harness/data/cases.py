"""A case: one stack with its mask, as a reader finds it, and how it is read and judged."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from nibabel.orientations import apply_orientation

from harness.data.geometry import GRID_TOLERANCE_VOXELS, Alignment, align
from harness.data.labels import Labels, ranges
from harness.data.nifti import NiftiFile, check_nifti, read_voxels
from harness.data.orientation import orientation_name
from harness.data.writer import Stack
from harness.errors import DataError


@dataclass(frozen=True, kw_only=True)
class Case:
    """Where one stack lies, and which values of its mask are the brain.

    `fault` is set by a reader that already knows it cannot be used, `left_out` by one that knows
    it was never meant to be; such a case is listed but not held against the source. `slice_axis`
    is the file's axis across the slices where the user names it.
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
    labels: Labels = field(default_factory=Labels)
    slice_axis: int | None = None

    def load(self, set_name: str) -> Stack:
        """Check and read the stack. Raises `DataError` on anything unfit."""
        return load_case(self, set_name)

    def without_places(self, text: str) -> str:
        """The text with this machine's folders taken out of the case's own paths."""
        if self.mask is not None:
            text = text.replace(str(self.mask), self.mask.name)
        return text.replace(str(self.image), self.source or self.image.name)


def check_case(case: Case) -> tuple[NiftiFile, NiftiFile, Alignment]:
    """Test both headers and that they agree, without reading voxels. Raises `DataError`."""
    if case.fault or case.labels.fault:
        raise DataError(case.fault or case.labels.fault)
    image = check_nifti(case.image)
    if case.mask is None:
        raise DataError(f"{case.image}: has no brain mask; add one or take the stack out.")
    mask = check_nifti(case.mask)
    alignment = align(image.placement, image.shape, mask.placement, mask.shape)
    if isinstance(alignment, str):
        raise DataError(f"{case.mask}: {alignment}; draw the mask on the stack's own grid.")
    return image, mask, alignment


def load_case(case: Case, set_name: str) -> Stack:
    """Check and read one case; slices are cut across the slice axis (`find_slice_axis`).

    The arrays are (slices, rows, columns): of the two axes within a slice the later one in the
    file runs down, the earlier one to the right. A slice with voxels that nobody annotated is not
    among `taken`. Raises `DataError` on anything unfit.
    """
    image, mask, alignment = check_case(case)
    axis, doubt = image.slice_axis(case.slice_axis)
    voxels = read_voxels(image)
    if voxels.min() == voxels.max():
        raise DataError(f"{case.image}: every voxel is {voxels.flat[0]:g}; export it again.")
    values = apply_orientation(read_voxels(mask), alignment.orientation)
    brain, ignored, scaled = case.labels.split(values, mask.path)
    taken = np.flatnonzero(~ignored.any(axis=tuple(other for other in range(3) if other != axis)))
    if not len(taken):
        raise DataError(f"{case.mask}: every slice has voxels that nobody annotated (ignore).")
    column, row = (other for other in range(3) if other != axis)
    order = (axis, row, column)
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
        orientation=orientation_name(image.affine[:3, axis]),
        source=case.source,
        gestational_age_weeks=case.gestational_age_weeks,
        slice_axis=axis,
        taken=tuple(taken.tolist()) if len(taken) < image.shape[axis] else None,
        warnings=_warnings(image, mask, alignment, doubt, scaled, brain.any()),
    )


def _warnings(
    image: NiftiFile,
    mask: NiftiFile,
    alignment: Alignment,
    doubt: str,
    scaled: str,
    has_brain: np.bool_,
) -> tuple[str, ...]:
    found = [f"{image.path.name}: {text}" for text in (*image.placement.warnings, doubt) if text]
    if mask.placement.warnings != image.placement.warnings:
        found += [f"{mask.path.name}: {text}" for text in mask.placement.warnings]
    if alignment.gap_voxels > GRID_TOLERANCE_VOXELS:
        found.append(
            f"{mask.path.name}: lies {alignment.gap_voxels:.2g} voxels away from the image, which "
            "is read as rounding"
        )
    if not np.array_equal(alignment.orientation, [[0, 1], [1, 1], [2, 1]]):
        found.append(f"{mask.path.name}: its axes were turned to the image's")
    if scaled:
        found.append(f"{mask.path.name}: {scaled}")
    if not has_brain:
        found.append(f"{mask.path.name}: holds no brain")
    return tuple(found)


def not_annotated(stack: Stack) -> str:
    """Which slices of a stack are left out, in words, or ""."""
    if stack.taken is None:
        return ""
    missing = set(range(len(stack.images))) - set(stack.taken)
    return f"slices {ranges(missing)}: not annotated (label ignore)"
