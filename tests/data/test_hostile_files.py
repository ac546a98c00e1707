"""A file that lies about itself costs one typed error, little time and little memory."""

from __future__ import annotations

import gzip
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harness.data.cases import Case, load_case
from harness.errors import DataError
from tests.conftest import ROOT
from tests.data.nifti_files import AFFINE, brain, patch, save, voxels

Spoil = Callable[[Path, Path], object]


def bomb(image: Path, _: Path) -> None:
    header = nib.Nifti1Header()
    header["dim"] = [3, 32767, 32767, 32767, 1, 1, 1, 1]
    header["datatype"], header["bitpix"] = 16, 32
    header["magic"], header["vox_offset"] = b"n+1", 352
    image.write_bytes(gzip.compress(header.binaryblock))
    # Another zlib may pack it a byte or two closer.
    assert image.stat().st_size <= 67


def modest_bomb(image: Path, _: Path) -> None:
    """Within the sides that are allowed, but with nothing behind the claim."""
    bomb(image, _)
    patch(image, "dim", [3, 512, 512, 64, 1, 1, 1, 1])


def truncated(image: Path, _: Path) -> None:
    image.write_bytes(image.read_bytes()[:-300])


def far_apart(image: Path, _: Path) -> None:
    """Spacings are modest in `pixdim`, which the sform overrules."""
    patch(image, "srow_x", [1e9, 0, 0, 0])
    patch(image, "qform_code", 0)


def unpacked_whole(image: Path, _: Path) -> None:
    """A header that calls itself shorter than nothing, so that voxels start before it."""
    patch(image, "sizeof_hdr", -20)
    patch(image, "vox_offset", -9.0)


def nan_intercept(image: Path, _: Path) -> None:
    patch(image, "scl_slope", 2.0)
    patch(image, "scl_inter", np.nan)


def nan_voxel(image: Path, _: Path) -> None:
    data = voxels().astype(np.float32)
    data[3, 3, 2] = np.nan
    save(image, data)


def forms_disagree(image: Path, _: Path) -> None:
    turned = AFFINE.copy()
    turned[0, 3] += 5.0
    file = nib.Nifti1Image(voxels(), AFFINE)
    file.header.set_sform(AFFINE, code=1)
    file.header.set_qform(turned, code=1)
    nib.save(file, image)


def shifted_mask(_: Path, mask: Path) -> None:
    moved = AFFINE.copy()
    moved[1, 3] += 1.1
    save(mask, brain(), moved)


def no_mask(_: Path, mask: Path) -> None:
    mask.unlink()


def no_image(image: Path, _: Path) -> None:
    image.unlink()


SPOILED: dict[str, tuple[Spoil, str]] = {
    "67-byte bomb": (bomb, "dimensions"),
    "modest bomb": (modest_bomb, "cut off or made up"),
    "truncated gzip": (truncated, "fetch it again"),
    "empty file": (lambda image, _: image.write_bytes(b""), "NIfTI"),
    "no gzip": (lambda image, _: image.write_bytes(b"hello" * 200), "unpacked"),
    "zero dimension": (lambda image, _: patch(image, "dim", [3, 12, 0, 4, 1, 1, 1, 1]), "dimen"),
    "negative dimension": (
        lambda image, _: patch(image, "dim", [3, 12, -7, 4, 1, 1, 1, 1]),
        "dimensions",
    ),
    "seven axes": (lambda image, _: patch(image, "dim", [7, 2, 2, 2, 2, 2, 2, 2]), "axes"),
    "4-D": (lambda image, _: save(image, voxels(0, (12, 10, 4, 3))), "4-D"),
    "complex": (lambda image, _: save(image, voxels().astype(np.complex64)), "data type"),
    "unknown data type": (lambda image, _: patch(image, "datatype", 9999), "code 9999"),
    "no data type": (lambda image, _: patch(image, "datatype", 0), "no real number"),
    "negative header": (unpacked_whole, "start at byte"),
    "negative offset": (lambda image, _: patch(image, "vox_offset", -9.0), "start at byte"),
    "infinite scale": (lambda image, _: patch(image, "scl_slope", np.inf), "scaling"),
    "NaN intercept": (nan_intercept, "scaling"),
    "voxels a million km apart": (far_apart, "spaces voxels"),
    "NaN spacing": (lambda image, _: patch(image, "pixdim", [1, np.nan] + [1] * 6), "spacing"),
    "zero spacing": (lambda image, _: patch(image, "pixdim", [1, 0] + [1] * 6), "spacing"),
    "NaN affine": (lambda image, _: patch(image, "srow_x", [np.nan] * 4), "orientation"),
    "NaN": (nan_voxel, "NaN"),
    "constant": (lambda image, _: save(image, np.full((12, 10, 4), 7, np.uint8)), "every voxel"),
    "sform and qform": (forms_disagree, "sform and qform"),
    "shifted mask": (shifted_mask, "voxels away"),
    "other shape": (lambda _, mask: save(mask, brain((12, 10, 5))), "shape"),
    "labels 0–3": (lambda _, mask: save(mask, brain() * 3), "no binary mask"),
    "soft mask": (lambda _, mask: save(mask, brain() * np.float32(0.5)), "no binary mask"),
    "no such image": (no_image, "no such file"),
    "no such mask": (no_mask, "no such file"),
}


@pytest.mark.parametrize(("spoil", "says"), SPOILED.values(), ids=SPOILED.keys())
def test_hostile_file_is_one_typed_error(tmp_path: Path, spoil: Spoil, says: str) -> None:
    image = save(tmp_path / "image.nii.gz", voxels())
    mask = save(tmp_path / "mask.nii.gz", brain())
    spoil(image, mask)
    case = Case(stack="sub-1", subject="sub-1", image=image, mask=mask, source="image.nii.gz")
    tracemalloc.start()
    start = time.process_time()
    try:
        with pytest.raises(DataError, match=says) as caught:
            load_case(case, "train")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert time.process_time() - start < 2
    assert peak < 100e6
    assert str(tmp_path) in str(caught.value)


FULL = """
import re, sys, time
from pathlib import Path
from harness.data.cases import Case, load_case
from harness.errors import DataError
image, mask = map(Path, sys.argv[1:])
case = Case(stack="sub-1", subject="sub-1", image=image, mask=mask, source="image.nii.gz")
start = time.process_time()
try:
    load_case(case, "train")
except DataError as error:
    print(error)
print(time.process_time() - start)
# Not `ru_maxrss`, which begins with what the parent held when it forked.
print(1024 * int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]))
"""


def packed_zeros(path: Path, sides: tuple[int, int, int], last: float) -> None:
    """A true volume of scaled float64 zeros but for its last voxel, packed to a thousandth."""
    header = nib.Nifti1Header()
    header["dim"] = [3, *sides, 1, 1, 1, 1]
    header["datatype"], header["bitpix"] = 64, 64
    header["pixdim"][1:4] = 1.0, 1.0, 3.0
    header["scl_slope"], header["scl_inter"] = 2.0, 0.0
    header["magic"], header["vox_offset"] = b"n+1", 352
    with gzip.open(path, "wb", compresslevel=6) as stream:
        stream.write(header.binaryblock + bytes(4))
        left = 8 * int(np.prod(sides)) - 8
        while left:
            left -= stream.write(bytes(min(left, 2**24)))
        stream.write(np.float64(last).tobytes())


@pytest.mark.parametrize(
    ("sides", "says"),
    [((1024, 1024, 16), "no binary mask, it holds 6"), ((1024, 1024, 17), "claims 17825792")],
    ids=["largest allowed", "one slice more"],
)
def test_packed_zeros_cost_little(tmp_path: Path, sides: tuple[int, int, int], says: str) -> None:
    image, mask = tmp_path / "image.nii.gz", tmp_path / "mask.nii.gz"
    packed_zeros(image, sides, 3)
    mask.write_bytes(image.read_bytes())
    assert image.stat().st_size < 200_000
    run = subprocess.run(
        [sys.executable, "-c", FULL, str(image), str(mask)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    said, seconds, peak_bytes = run.stdout.splitlines()
    assert says in said
    # Two files, two seconds each.
    assert float(seconds) < 4
    assert int(peak_bytes) < 500e6


def test_a_zero_in_pixdim_stands_for_one(tmp_path: Path) -> None:
    data = voxels()
    image = patch(save(tmp_path / "image.nii.gz", data), "pixdim", [0, 1.1, 1.1, 3.2, 1, 1, 1, 1])
    mask = save(tmp_path / "mask.nii.gz", brain())
    case = Case(stack="sub-1", subject="sub-1", image=image, mask=mask, source="image.nii.gz")
    assert np.array_equal(load_case(case, "train").images, data.transpose(2, 1, 0))


def test_stack_without_mask(tmp_path: Path) -> None:
    image = save(tmp_path / "image.nii.gz", voxels())
    case = Case(stack="sub-1", subject="sub-1", image=image, mask=None, source="image.nii.gz")
    with pytest.raises(DataError, match="has no brain mask"):
        load_case(case, "train")


def test_honest_file_is_read_to_the_value(tmp_path: Path) -> None:
    data = voxels()
    image = save(tmp_path / "image.nii.gz", data)
    mask = save(tmp_path / "mask.nii", brain().astype(np.float64))
    case = Case(stack="sub-1", subject="sub-1", image=image, mask=mask, source="image.nii.gz")
    stack = load_case(case, "train")
    assert np.array_equal(stack.images, data.transpose(2, 1, 0))
    assert np.array_equal(stack.masks, brain().transpose(2, 1, 0))
    assert stack.spacing_mm == pytest.approx((1.1, 1.1))
    assert stack.thickness_mm == pytest.approx(3.2)


def test_scaled_integers_are_scaled(tmp_path: Path) -> None:
    image = patch(save(tmp_path / "image.nii.gz", voxels()), "scl_slope", 0.5)
    patch(image, "scl_inter", -3.0)
    mask = save(tmp_path / "mask.nii.gz", brain())
    case = Case(stack="sub-1", subject="sub-1", image=image, mask=mask, source="image.nii.gz")
    expected = nib.load(image).get_fdata().transpose(2, 1, 0)  # type: ignore[attr-defined]
    assert np.allclose(load_case(case, "train").images, expected)


def test_slices_are_cut_across_the_thickest_axis(tmp_path: Path) -> None:
    affine = np.diag([4.0, 1.0, 1.5, 1.0])
    data = voxels()
    image = save(tmp_path / "image.nii.gz", data, affine)
    mask = save(tmp_path / "mask.nii.gz", brain(), affine)
    case = Case(stack="sub-1", subject="sub-1", image=image, mask=mask, source="image.nii.gz")
    stack = load_case(case, "train")
    assert np.array_equal(stack.images, data.transpose(0, 2, 1))
    assert (stack.spacing_mm, stack.thickness_mm) == ((1.5, 1.0), 4.0)
    assert stack.orientation == "sagittal"
