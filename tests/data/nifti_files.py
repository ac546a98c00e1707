"""Writes NIfTI files as other people's software does: with nibabel, or byte by byte."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np

from harness.data.checking import CheckOptions, check_folder

SHAPE = (12, 10, 4)
# Turned by 7° about the second axis: 1.1 mm within slices, 3.2 mm between them.
_COS, _SIN = np.cos(np.deg2rad(7)), np.sin(np.deg2rad(7))
AFFINE = np.array(
    [
        [1.1 * _COS, 0.0, -3.2 * _SIN, -9.0],
        [0.0, 1.1, 0.0, 3.0],
        [1.1 * _SIN, 0.0, 3.2 * _COS, 7.0],
        [0.0, 0.0, 0.0, 1.0],
    ]
)


def voxels(seed: int = 0, shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """Random uint16 intensities."""
    return np.random.default_rng(seed).integers(1, 900, shape).astype(np.uint16)


def brain(shape: tuple[int, ...] = SHAPE) -> np.ndarray:
    """A block of ones, away from the first slice."""
    mask = np.zeros(shape, dtype=np.uint8)
    mask[3:8, 2:6, 1:] = 1
    return mask


def save(path: Path, data: np.ndarray, affine: np.ndarray = AFFINE, **header: Any) -> Path:
    """Write an array with nibabel; `header` overwrites fields of the file's header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = nib.Nifti1Image(data, affine)
    image.header.set_sform(affine, code="scanner")
    image.header.set_qform(affine, code="scanner")
    for name, value in header.items():
        image.header[name] = value
    nib.save(image, path)
    return path


def patch(path: Path, field: str, value: Any) -> Path:
    """Overwrite one header field of a .nii.gz as a damaged or hostile file would hold it."""
    raw = bytearray(gzip.decompress(path.read_bytes()))
    header = np.frombuffer(raw, dtype=nib.Nifti1Header.template_dtype, count=1).copy()
    header[field] = value
    raw[:348] = header.tobytes()
    path.write_bytes(gzip.compress(bytes(raw)))
    return path


def bids(root: Path, subjects: int = 3, runs: int = 2, *, wild: bool = False) -> Path:
    """A BIDS data set with masks named as the specification does, or as found in the wild."""
    suffix = "_T2w" if wild else ""
    for subject in range(1, subjects + 1):
        for run in range(1, runs + 1):
            stem = f"sub-{subject:02d}_run-{run}"
            folder = f"sub-{subject:02d}/anat"
            save(root / folder / f"{stem}_T2w.nii.gz", voxels(10 * subject + run))
            save(
                root / "derivatives" / "manual" / folder / f"{stem}{suffix}_desc-brain_mask.nii.gz",
                brain(),
            )
    return root


def check(source: Path, largest_excluded_share: float = 0.2) -> tuple[list[dict[str, Any]], str]:
    """What `data check` finds, in the form that it recognises."""
    return check_folder(source, CheckOptions(largest_excluded_share=largest_excluded_share))
