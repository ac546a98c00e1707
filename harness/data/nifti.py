"""Reads one NIfTI file that nobody vouches for: checked before its voxels are touched.

A 67-byte .nii.gz can claim 32767³ voxels, so the header is read from a bounded stream, every claim
in it is tested, and then no more bytes are unpacked than it may hold.
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from harness.errors import DataError

LARGEST_SIDE = 1024
# Two such volumes, image and mask, are read within 2 s and 500 MB; the largest stacks hold a tenth.
MOST_VOXELS = 2**24
# Voxels decoded at once: in the file's own type and in double precision they would take far more.
SLAB_VOXELS = 2**16
LARGEST_OFFSET = 2**20
LARGEST_SPACING_MM = 100.0
# Deflate cannot pack more than 1032 bytes into one.
DEFLATE_RATIO = 1032
DATA_TYPES = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}
# sform and qform may differ by what float32 quaternions lose; image and mask by less.
FORM_TOLERANCE_VOXELS = 0.02
GRID_TOLERANCE_VOXELS = 1e-3


@dataclass(frozen=True)
class NiftiFile:
    """A file whose header has passed; `shape` has 3 axes, `affine` maps its indices to RAS mm."""

    path: Path
    shape: tuple[int, int, int]
    spacing_mm: tuple[float, float, float]
    affine: NDArray[np.float64]
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float

    @property
    def slice_axis(self) -> int:
        """The through-plane axis."""
        return slice_axis_of(self.spacing_mm)

    def same_grid(self, other: NiftiFile) -> str | None:
        """Why the other file lies on another grid, or None where it lies on this one."""
        if self.shape != other.shape:
            return f"its shape is {other.shape}, the image's {self.shape}"
        shift = _displacement(self.affine, other.affine, self.shape)
        if shift > GRID_TOLERANCE_VOXELS:
            return f"it lies {shift:.3g} voxels away from the image"
        return None


def spacing_of(affine: NDArray[np.float64]) -> tuple[float, float, float]:
    """Distance in mm between neighbours along each index axis of a (4, 4) affine."""
    a, b, c = np.linalg.norm(affine[:3, :3], axis=0).tolist()
    return a, b, c


def slice_axis_of(spacing_mm: tuple[float, float, float]) -> int:
    """The axis across the slices: the one of largest spacing, the last where they are equal."""
    largest = max(spacing_mm)
    return max(axis for axis in range(3) if spacing_mm[axis] >= largest * (1 - 1e-3))


def check_nifti(path: Path) -> NiftiFile:
    """Read and test the header only. Raises `DataError` with the file, the fault and the remedy."""
    if not path.is_file():
        raise DataError(f"{path}: no such file (or a link to nowhere); fetch or restore it.")
    size = path.stat().st_size
    header = _read_header(path)
    shape = _checked_shape(path, header)
    dtype = _checked_dtype(path, header)
    offset = float(header["vox_offset"])
    # The length of this kind of header, not what the file says of it.
    if not type(header).sizeof_hdr <= offset <= LARGEST_OFFSET:
        raise DataError(f"{path}: its voxels start at byte {offset:g}; the header is damaged.")
    expected = int(offset) + int(np.prod(shape)) * dtype.itemsize
    room = size * DEFLATE_RATIO if _is_packed(path) else size
    if room < expected:
        raise DataError(
            f"{path}: claims {expected} bytes and has {size}; it is cut off or made up, "
            "fetch it again."
        )
    slope, intercept = _checked_scaling(path, header)
    _check_pixdim(path, header)
    affine = _checked_affine(path, header, shape)
    return NiftiFile(
        path=path,
        shape=shape,
        spacing_mm=spacing_of(affine),
        affine=affine,
        dtype=dtype,
        offset=int(offset),
        slope=slope,
        intercept=intercept,
    )


def read_voxels(file: NiftiFile) -> NDArray[np.float32]:
    """The voxels as (i, j, k) float32, scaled. Raises `DataError` where they are cut off or NaN."""
    voxels = np.empty(int(np.prod(file.shape)), dtype=np.float32)
    try:
        with _open(file.path) as stream:
            stream.read(file.offset)
            for start in range(0, len(voxels), SLAB_VOXELS):
                slab = voxels[start : start + SLAB_VOXELS]
                slab[:] = _decode(file, stream.read(len(slab) * file.dtype.itemsize), len(slab))
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{file.path}: cannot be unpacked ({error}); fetch it again.") from None
    return voxels.reshape(file.shape, order="F")


def _decode(file: NiftiFile, raw: bytes, count: int) -> NDArray[np.float32]:
    """The next `count` voxels, scaled. Raises `DataError` where bytes are missing or not finite."""
    missing = count * file.dtype.itemsize - len(raw)
    if missing:
        raise DataError(f"{file.path}: ends at least {missing} bytes early; fetch it again.")
    values = np.frombuffer(raw, dtype=file.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        # Scaled in double precision: a large intercept would cost float32 its digits.
        if file.slope != 1.0 or file.intercept != 0.0:
            values = values * file.slope + file.intercept
        scaled = values.astype(np.float32)
    if not np.isfinite(scaled).all():
        raise DataError(
            f"{file.path}: holds NaN or infinite values; replace them and save it anew."
        )
    return scaled


def _is_packed(path: Path) -> bool:
    return path.name.lower().endswith(".gz")


def _open(path: Path) -> gzip.GzipFile | IO[bytes]:
    return gzip.open(path, "rb") if _is_packed(path) else path.open("rb")


def _read_header(path: Path) -> Any:
    try:
        with _open(path) as stream:
            raw = stream.read(540)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: cannot be unpacked ({error}); fetch it again.") from None
    for kind, length, magic in ((nib.Nifti1Header, 348, b"n+1"), (nib.Nifti2Header, 540, b"n+2")):
        start = 344 if length == 348 else 4
        if len(raw) >= length and raw[start : start + 3] == magic:
            header = kind(raw[:length], check=False)
            # By the standard 0 stands for 1 here, the sign of the third axis.
            if header["pixdim"][0] == 0:
                header["pixdim"][0] = 1
            return header
    raise DataError(f"{path}: is no single-file NIfTI image; convert it to .nii or .nii.gz.")


def _checked_shape(path: Path, header: Any) -> tuple[int, int, int]:
    axes = int(header["dim"][0])
    if not 2 <= axes <= 4:
        raise DataError(f"{path}: has {axes} axes; a stack has 3 (a slice 2).")
    sides = [int(side) for side in header["dim"][1 : axes + 1]]
    if any(not 1 <= side <= LARGEST_SIDE for side in sides):
        raise DataError(
            f"{path}: its dimensions {tuple(sides)} are not all from 1 to {LARGEST_SIDE}; "
            "the header is damaged."
        )
    if axes == 4 and sides[3] != 1:
        raise DataError(f"{path}: is 4-D {tuple(sides)}; save each volume as a stack of its own.")
    a, b, c = [*sides, 1][:3]
    if a * b * c > MOST_VOXELS:
        raise DataError(f"{path}: claims {a * b * c} voxels, more than {MOST_VOXELS}; crop it.")
    return a, b, c


def _checked_dtype(path: Path, header: Any) -> np.dtype[Any]:
    try:
        dtype = header.get_data_dtype()
    except (HeaderDataError, KeyError):
        code = int(header["datatype"])
        raise DataError(
            f"{path}: its data type code {code} is unknown; the header is damaged."
        ) from None
    if dtype.str[1:] not in DATA_TYPES:
        raise DataError(f"{path}: data type {dtype} is no real number; save it as one of those.")
    return dtype


def _checked_scaling(path: Path, header: Any) -> tuple[float, float]:
    """Slope and intercept; 1 and 0 where the header gives none."""
    fault = f"{path}: its intensity scaling is not finite; mend its header."
    if np.isinf(header["scl_slope"]) or np.isinf(header["scl_inter"]):
        raise DataError(fault)
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError:
        raise DataError(fault) from None
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _check_pixdim(path: Path, header: Any) -> None:
    a, b, c = (float(value) for value in header["pixdim"][1:4])
    if int(header["dim"][0]) == 2 and c == 0:
        c = 1.0
    if any(not 0 < value <= LARGEST_SPACING_MM for value in (a, b, c)):
        raise DataError(f"{path}: its spacing {(a, b, c)} mm is not possible; mend its header.")


def _checked_affine(path: Path, header: Any, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    try:
        with np.errstate(invalid="ignore"):
            sform, s_code = header.get_sform(coded=True)
            qform, q_code = header.get_qform(coded=True)
            affine = np.asarray(header.get_best_affine(), dtype=np.float64)
    except (HeaderDataError, ValueError) as error:
        raise DataError(f"{path}: its orientation cannot be read ({error}).") from None
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise DataError(f"{path}: its orientation is no mapping to space; mend its header.")
    spacing = spacing_of(affine)
    if max(spacing) > LARGEST_SPACING_MM:
        shown = ", ".join(f"{value:g}" for value in spacing)
        raise DataError(f"{path}: its orientation spaces voxels by {shown} mm; mend its header.")
    if s_code and q_code:
        gap = _displacement(np.asarray(sform), np.asarray(qform), shape)
        if not gap <= FORM_TOLERANCE_VOXELS:
            raise DataError(
                f"{path}: its sform and qform lie {gap:.3g} voxels apart; keep the right one "
                "and write it to both."
            )
    return affine


def _displacement(
    first: NDArray[np.float64], second: NDArray[np.float64], shape: tuple[int, ...]
) -> float:
    """Largest distance over the grid's corners between two affines, in voxels of the first."""
    corners = np.array(np.meshgrid(*[[0, side - 1] for side in shape])).reshape(3, -1)
    away = (first - second)[:3, :3] @ corners + (first - second)[:3, 3:]
    try:
        return float(np.abs(np.linalg.solve(first[:3, :3], away)).max())
    except np.linalg.LinAlgError:
        return float("inf")
