"""Where a stack lies: units, sform and qform, the slice axis, and whether two grids are one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.orientations import io_orientation
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from harness.errors import DataError

Affine = NDArray[np.float64]

# What no pixel or slice of an MR image of a fetus measures is a unit or a header gone wrong.
SPACING_LIMITS_MM = (0.05, 30.0)
# sform and qform closer than this are one; so are image and mask, without a word and with one.
FORM_TOLERANCE_VOXELS = 0.02
GRID_TOLERANCE_VOXELS = 1e-3
GRID_WARNED_VOXELS = 0.05
# Parts of a unit quaternion after a round trip through float32, a few units in the last place.
QUATERNION_TOLERANCE = 3e-7
LARGEST_SHEAR_DEG = 1.0
# The slice axis is told by spacing alone only where it is larger than the next by this factor.
CLEAR_MARGIN = 1.2
# NIFTI_UNITS of space: unknown is read as mm, as every reader does.
UNITS_MM = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
AXES = ("i", "j", "k")
REMEDY = "write the right one as its sform and set qform_code to 0 (nibabel: set_qform(None, 0))"


@dataclass(frozen=True)
class Placement:
    """An affine to RAS mm, the other affine that the same header allows, and what was noticed."""

    affine: Affine
    other: Affine | None = None
    warnings: tuple[str, ...] = ()


def spacing_of(affine: Affine) -> tuple[float, float, float]:
    """Distance in mm between neighbours along each index axis of a (4, 4) affine."""
    a, b, c = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return a, b, c


def placement(path: Path, header: Any, shape: tuple[int, int, int]) -> Placement:
    """The mapping of indices to RAS mm. Raises `DataError` where the header gives none.

    A valid sform is used. The qform contradicts it only if it is not the one that a program would
    make from that sform: a float32 quaternion near 180° cannot hold the last bit of the rotation.
    """
    scale = _unit(path, header)
    sform, qform = _sform(path, header), _qform(header)
    coded = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    warnings: list[str] = []
    other = None
    if sform is not None:
        affine = sform
        if coded[1] and qform is None:
            warnings.append("its qform is not a rotation; its sform is used")
        elif qform is not None and coded[1]:
            other = qform
            _compare_forms(path, header, shape, sform, qform, warnings)
    elif qform is not None and coded[1]:
        affine = qform
        if coded[0]:
            warnings.append("its sform is not a mapping to space; its qform is used")
    elif coded[1]:
        raise DataError(
            f"{path}: its orientation cannot be read: the qform's quaternion "
            f"{_numbers(header, 'quatern_b', 'quatern_c', 'quatern_d')} is not a rotation and "
            "there is no valid sform; write the affine of the original scan as its sform."
        )
    elif coded[0]:
        raise DataError(
            f"{path}: its orientation is not a mapping to space and there is no qform; "
            "write the affine of the original scan as its sform."
        )
    else:
        affine = np.asarray(header.get_base_affine(), dtype=np.float64)
        warnings.append("it says nothing of its orientation (neither sform nor qform)")
    flat = [axis for axis in range(3) if shape[axis] == 1]
    affine = _with_thickness(_scaled(affine, scale), flat)
    _check_spacing(path, affine, scale)
    _check_shear(path, affine, flat)
    return Placement(affine, None if other is None else _scaled(other, scale), tuple(warnings))


def find_slice_axis(
    path: Path, header: Any, shape: tuple[int, int, int], affine: Affine, wanted: int | None
) -> tuple[int, str]:
    """The through-plane axis and a warning ("" as a rule). Raises `DataError` where it is a guess.

    An axis of one voxel is it; else the one that the user names; else the header's `dim_info`;
    else the one of largest spacing, by a clear margin.
    """
    flat = [axis for axis in range(3) if shape[axis] == 1]
    if len(flat) > 1:
        raise DataError(f"{path}: its dimensions {shape} are those of a line, not of a slice.")
    if flat:
        if wanted is not None and wanted != flat[0]:
            raise DataError(
                f"{path}: is a single slice across its axis {AXES[flat[0]]}, not "
                f"{AXES[wanted]}; leave --slice-axis out for it."
            )
        return flat[0], ""
    if wanted is not None:
        return wanted, ""
    spacing = spacing_of(affine)
    _, second, first = np.argsort(spacing).tolist()
    clear = spacing[first] >= CLEAR_MARGIN * spacing[second] * (1 - 1e-6)
    named = header.get_dim_info()[2]
    if named is not None:
        doubt = clear and named != first
        shown = ", ".join(f"{value:.3g}" for value in spacing)
        return int(named), (
            f"its dim_info names the slice axis {AXES[named]}, its spacing ({shown} mm) speaks for "
            f"{AXES[first]}; {AXES[named]} is taken (--slice-axis names another)"
            if doubt
            else ""
        )
    if clear:
        return first, ""
    shown = " × ".join(f"{value:.3g}" for value in spacing)
    raise DataError(
        f"{path}: its voxels of {shown} mm do not tell which axis runs across the slices; name it "
        "with --slice-axis i, j or k (or --slice-axis NAME=k for some stacks; "
        "of a volume reconstructed from several stacks the plane that you want to be segmented)."
    )


@dataclass(frozen=True)
class Alignment:
    """How a mask's axes lie along its image's (`nibabel.orientations`), and the gap in voxels."""

    orientation: NDArray[np.float64]
    gap_voxels: float


def align(
    image: Placement, shape: tuple[int, int, int], mask: Placement, mask_shape: tuple[int, int, int]
) -> Alignment | str:
    """Whether the mask's grid is the image's, its axes flipped or exchanged; else why it is not."""
    best: Alignment | str = f"its shape is {mask_shape}, the image's {shape}"
    for one in (image.affine, image.other):
        for two in (mask.affine, mask.other):
            if one is None or two is None:
                continue
            found = _align(one, shape, two, mask_shape)
            if isinstance(found, str) or (
                not isinstance(best, str) and best.gap_voxels <= found.gap_voxels
            ):
                continue
            best = found
    if isinstance(best, Alignment) and best.gap_voxels > GRID_WARNED_VOXELS:
        return f"it lies {best.gap_voxels:.3g} voxels away from the image"
    return best


def _align(
    image: Affine, shape: tuple[int, int, int], mask: Affine, mask_shape: tuple[int, int, int]
) -> Alignment | str:
    between = np.linalg.inv(image) @ mask
    # A slice has no extent across itself; there both axes may be called as they like.
    orientation = io_orientation(between)
    if np.isnan(orientation).any():
        return "its axes do not lie along the image's"
    turned = [0, 0, 0]
    for axis, target in enumerate(orientation[:, 0].astype(int)):
        turned[target] = mask_shape[axis]
    if tuple(turned) != shape:
        return f"its shape is {mask_shape}, the image's {shape}"
    moved = mask @ nib.orientations.inv_ornt_aff(orientation, mask_shape)
    return Alignment(np.asarray(orientation, np.float64), displacement(image, moved, shape))


def displacement(first: Affine, second: Affine, shape: tuple[int, ...]) -> float:
    """Largest distance over the grid's corners between two affines, in voxels of the first."""
    corners = np.array(np.meshgrid(*[[0, side - 1] for side in shape])).reshape(3, -1)
    away = (first - second)[:3, :3] @ corners + (first - second)[:3, 3:]
    try:
        return float(np.abs(np.linalg.solve(first[:3, :3], away)).max())
    except np.linalg.LinAlgError:
        return float("inf")


def _unit(path: Path, header: Any) -> float:
    code = int(header["xyzt_units"]) & 7
    if code not in UNITS_MM:
        raise DataError(
            f"{path}: its unit of length has the code {code}, which NIfTI does not know; write "
            "2 (mm) into xyzt_units."
        )
    return UNITS_MM[code]


def _scaled(affine: Affine, scale: float) -> Affine:
    return affine if scale == 1 else np.diag([scale, scale, scale, 1.0]) @ affine


def _sform(path: Path, header: Any) -> Affine | None:
    if int(header["sform_code"]) <= 0:
        return None
    sform = np.asarray(header.get_sform(), dtype=np.float64)
    if not np.isfinite(sform).all():
        raise DataError(
            f"{path}: its orientation (sform) holds NaN or infinite numbers; the header is damaged."
        )
    # An absent axis of a slice may have no column of its own.
    absent = int(header["dim"][0]) == 2 and not sform[:3, 2].any()
    if absent:
        normal = np.cross(sform[:3, 0], sform[:3, 1])
        length = float(np.linalg.norm(normal))
        sform[:3, 2] = normal / length if length else 0.0
    scale = np.prod(np.linalg.norm(sform[:3, :3], axis=0))
    return sform if abs(np.linalg.det(sform[:3, :3])) > 1e-6 * scale else None


def _qform(header: Any) -> Affine | None:
    fixed = header.copy()
    if int(header["dim"][0]) == 2 and header["pixdim"][3] == 0:
        fixed["pixdim"][3] = 1
    try:
        with np.errstate(invalid="ignore"):
            qform = np.asarray(fixed.get_qform(), dtype=np.float64)
    except (HeaderDataError, ValueError):
        return None
    return qform if np.isfinite(qform).all() and np.linalg.det(qform[:3, :3]) else None


def _compare_forms(
    path: Path,
    header: Any,
    shape: tuple[int, int, int],
    sform: Affine,
    qform: Affine,
    warnings: list[str],
) -> None:
    gap = displacement(sform, qform, shape)
    if gap <= FORM_TOLERANCE_VOXELS:
        return
    if _is_made_from(header, sform):
        warnings.append(
            f"its qform lies {gap:.3g} voxels from its sform, as far as a quaternion in single "
            "precision misses it; the sform is used"
        )
        return
    different = int(header["sform_code"]) != int(header["qform_code"])
    if different and np.allclose(spacing_of(sform), spacing_of(qform), rtol=0.01):
        warnings.append(
            "its sform and qform name two spaces (codes "
            f"{int(header['sform_code'])} and {int(header['qform_code'])}); the sform is used"
        )
        return
    raise DataError(
        f"{path}: its sform and qform lie {gap:.3g} voxels apart and are not made from one matrix; "
        f"{REMEDY}."
    )


def _is_made_from(header: Any, sform: Affine) -> bool:
    """Whether the qform is what a program writes that makes it from the sform."""
    made = header.copy()
    made.set_qform(sform, code=1, strip_shears=True)
    names = ("quatern_b", "quatern_c", "quatern_d")
    stored = np.array([float(header[name]) for name in names])
    wanted = np.array([float(made[name]) for name in names])
    # Where the first part is next to 0, a quaternion and its negative are one rotation.
    turned = min(np.abs(stored - wanted).max(), np.abs(stored + wanted).max())
    near_half_turn = 1 - wanted @ wanted < 1e-5
    if not near_half_turn:
        turned = np.abs(stored - wanted).max()
    offsets = ("qoffset_x", "qoffset_y", "qoffset_z")
    spacing = np.asarray(header["pixdim"][1:4], dtype=float)
    return bool(
        turned <= QUATERNION_TOLERANCE
        and np.sign(header["pixdim"][0] or 1) == np.sign(made["pixdim"][0] or 1)
        and np.allclose(spacing, made["pixdim"][1:4], rtol=1e-4)
        and all(abs(float(header[n]) - float(made[n])) < 1e-2 * spacing.min() for n in offsets)
    )


def _with_thickness(affine: Affine, flat: list[int]) -> Affine:
    """Across a single slice any length will do, but none that is absurd."""
    low, high = SPACING_LIMITS_MM
    affine = affine.copy()
    for axis in flat:
        length = float(np.linalg.norm(affine[:3, axis]))
        if length and not low <= length <= high:
            affine[:3, axis] /= length
    return affine


def _check_spacing(path: Path, affine: Affine, scale: float) -> None:
    spacing = spacing_of(affine)
    low, high = SPACING_LIMITS_MM
    # Zero and not finite are tested in pixdim, before.
    if all(low <= value <= high for value in spacing):
        return
    shown = ", ".join(f"{value:g}" for value in spacing)
    unit = "" if scale == 1 else f" (its unit is {'m' if scale > 1 else 'µm'})"
    raise DataError(
        f"{path}: its orientation spaces voxels by {shown} mm{unit}, which no MR image of a fetus "
        f"does ({low:g} to {high:g} mm); correct its header or its xyzt_units."
    )


def _check_shear(path: Path, affine: Affine, flat: list[int]) -> None:
    directions = affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)
    for one, two in ((0, 1), (0, 2), (1, 2)):
        if {one, two} & set(flat):
            continue
        sine = min(1.0, abs(float(directions[:, one] @ directions[:, two])))
        angle = np.rad2deg(np.arcsin(sine))
        if angle > LARGEST_SHEAR_DEG:
            raise DataError(
                f"{path}: its axes {AXES[one]} and {AXES[two]} are {angle:.1f} degrees from a "
                "right angle (a sheared sform, as an affine registration leaves it); write the "
                "scanner's own affine, or resample image and mask to a rectangular grid."
            )


def _numbers(header: Any, *names: str) -> str:
    return "(" + ", ".join(f"{float(header[name]):g}" for name in names) + ")"
