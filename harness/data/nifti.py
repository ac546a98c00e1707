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

from harness.data.geometry import Placement, find_slice_axis, placement, spacing_of
from harness.errors import DataError

LARGEST_SIDE = 1024
# Two such volumes, image and mask, are read within 2 s and 500 MB; the largest stacks hold a tenth.
MOST_VOXELS = 2**24
# Voxels decoded at once: in the file's own type and in double precision they would take far more.
SLAB_VOXELS = 2**16
LARGEST_OFFSET = 2**20
# Deflate cannot pack more than 1032 bytes into one.
DEFLATE_RATIO = 1032
DATA_TYPES = {"u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"}
FETCH_ANNEX = "fetch it (`datalad get` or `git annex get`)"


@dataclass(frozen=True)
class NiftiFile:
    """A file whose header has passed; `shape` has 3 axes, the placement maps indices to RAS mm."""

    path: Path
    shape: tuple[int, int, int]
    placement: Placement
    header: Any
    dtype: np.dtype[Any]
    offset: int
    slope: float
    intercept: float

    @property
    def affine(self) -> NDArray[np.float64]:
        """(4, 4), from voxel indices to RAS mm."""
        return self.placement.affine

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Along each index axis."""
        return spacing_of(self.affine)

    def slice_axis(self, wanted: int | None = None) -> tuple[int, str]:
        """The through-plane axis and a warning. Raises `DataError` where it would be a guess."""
        return find_slice_axis(self.path, self.header, self.shape, self.affine, wanted)


def check_nifti(path: Path) -> NiftiFile:
    """Read and test the header only. Raises `DataError` with the file, the fault and the remedy."""
    absent = not_here(path)
    if absent:
        raise DataError(f"{path}: {absent}")
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
    return NiftiFile(
        path=path,
        shape=shape,
        placement=placement(path, header, shape),
        header=header,
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


def not_here(path: Path) -> str:
    """Why a file has no content on this machine, with the remedy, or "" where it has."""
    if path.is_symlink() and not path.exists():
        target = path.readlink().as_posix()
        if "annex/objects" in target:
            return f"is a git-annex link whose content is not here; {FETCH_ANNEX}."
        return "is a link to a file that is not there; fetch or restore what it points to."
    if not path.is_file():
        return "no such file; fetch or restore it."
    with path.open("rb") as stream:
        start = stream.read(64)
    # Unlocked annexed files, with or without Git's filter, hold the key's place.
    if b"annex/objects/" in start and start.startswith((b"/annex", b"../", b".git")):
        return f"is a git-annex pointer whose content is not here; {FETCH_ANNEX}."
    if start.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer whose content is not here; fetch it (`git lfs pull`)."
    return ""


def _is_packed(path: Path) -> bool:
    """By its first bytes: .nii files that are packed, and .nii.gz that are not, do exist."""
    with path.open("rb") as stream:
        return stream.read(2) == b"\x1f\x8b"


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
    if raw and path.name.lower().endswith(".gz") and not _is_packed(path):
        raise DataError(f"{path}: cannot be unpacked (it is not a gzip file); fetch it again.")
    raise DataError(f"{path}: is no single-file NIfTI image; convert it to .nii or .nii.gz.")


def _checked_shape(path: Path, header: Any) -> tuple[int, int, int]:
    axes = int(header["dim"][0])
    if not 2 <= axes <= 7:
        raise DataError(f"{path}: has {axes} axes; a stack has 3 (a slice 2).")
    sides = [int(side) for side in header["dim"][1 : axes + 1]]
    while len(sides) > 3 and sides[-1] == 1:
        sides.pop()
    if any(not 1 <= side <= LARGEST_SIDE for side in sides):
        raise DataError(
            f"{path}: its dimensions {tuple(sides)} are not all from 1 to {LARGEST_SIDE}; "
            "the header is damaged."
        )
    if len(sides) > 3:
        raise DataError(
            f"{path}: is {len(sides)}-D {tuple(sides)} with {len(sides)} axes; "
            "save each volume as a stack of its own."
        )
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
    fault = f"{path}: its intensity scaling is not finite; correct its header."
    if np.isinf(header["scl_slope"]) or np.isinf(header["scl_inter"]):
        raise DataError(fault)
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError:
        raise DataError(fault) from None
    return 1.0 if slope is None else float(slope), 0.0 if intercept is None else float(intercept)


def _check_pixdim(path: Path, header: Any) -> None:
    held = min(3, int(header["dim"][0]))
    spacing = tuple(float(value) for value in header["pixdim"][1 : held + 1])
    # A third axis of one voxel may be said to have no thickness.
    if held == 3 and spacing[2] == 0 and int(header["dim"][3]) == 1:
        header["pixdim"][3] = 1
        spacing = spacing[:2]
    if any(not 0 < value < np.inf for value in spacing):
        raise DataError(f"{path}: its spacing {spacing} is not possible; correct its header.")
