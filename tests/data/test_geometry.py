"""Slice axis, sform and qform, units, shear, and masks on the image's grid in another order."""

from __future__ import annotations

from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from harness.data.cases import Case, load_case
from harness.data.importing import ImportOptions, import_dataset
from harness.data.writer import Stack
from harness.errors import DataError, UsageError
from tests.data.nifti_files import AFFINE, brain, check, patch, save, voxels


def load(image: Path, mask: Path, axis: int | None = None) -> Stack:
    case = Case(
        stack="one", subject="one", image=image, mask=mask, source=image.name, slice_axis=axis
    )
    return load_case(case, "train")


def pair(
    folder: Path, affine: np.ndarray = AFFINE, mask_affine: np.ndarray | None = None
) -> tuple[Path, Path]:
    image = save(folder / "image.nii.gz", voxels(), affine)
    return image, save(
        folder / "mask.nii.gz", brain(), affine if mask_affine is None else mask_affine
    )


def turned(degrees: float, spacing: tuple[float, float, float] = (1.1, 1.1, 3.3)) -> np.ndarray:
    cosine, sine = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    affine = np.eye(4)
    affine[:3, :3] = [[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]] @ np.diag(spacing)
    affine[:3, 3] = -20, -30, 10
    return affine


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_an_axis_of_one_voxel_is_the_slice_axis(tmp_path: Path, axis: int) -> None:
    shape = [12, 10]
    shape.insert(axis, 1)
    spacing = [1.25, 1.25]
    # What ITK writes for a slice: thinner than a pixel.
    spacing.insert(axis, 1.0)
    mask = np.zeros(shape, np.uint8)
    mask[tuple(slice(0, 1) if side == 1 else slice(2, 6) for side in shape)] = 1
    image = save(tmp_path / "i.nii.gz", voxels(0, tuple(shape)), np.diag([*spacing, 1]))
    masks = save(tmp_path / "m.nii.gz", mask, np.diag([*spacing, 1]))
    stack = load(image, masks)
    assert stack.images.shape == (1, 10, 12)
    assert stack.spacing_mm == pytest.approx((1.25, 1.25))


@pytest.mark.parametrize("pixdim", [0.0, 1.0])
def test_a_two_dimensional_file_is_one_slice(tmp_path: Path, pixdim: float) -> None:
    affine = np.diag([1.25, 1.25, 1.0, 1.0])
    data = voxels(0, (12, 10))
    image = save(tmp_path / "i.nii.gz", data, affine)
    mask = save(tmp_path / "m.nii.gz", brain()[:, :, 1], affine)
    for path in (image, mask):
        patch(path, "pixdim", [1, 1.25, 1.25, pixdim, 1, 1, 1, 1])
    stack = load(image, mask)
    assert np.array_equal(stack.images, data.T[None])
    assert stack.masks.sum() == brain()[:, :, 1].sum()


def test_dim_info_names_the_slice_axis(tmp_path: Path) -> None:
    # An isotropic volume whose header says that slices run along its first axis.
    image, mask = pair(tmp_path, np.diag([1.0, 1.0, 1.0, 1.0]))
    for path in (image, mask):
        patch(path, "dim_info", 1 << 4)
    assert load(image, mask).images.shape == (12, 4, 10)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (1.25, 1.25, 1.3), (1.3, 1.3, 1.1)])
def test_a_near_tie_is_an_error_that_says_how_to_name_the_axis(
    tmp_path: Path, spacing: tuple[float, float, float]
) -> None:
    image, mask = pair(tmp_path, np.diag([*spacing, 1]))
    with pytest.raises(DataError, match="--slice-axis"):
        load(image, mask)
    stack = load(image, mask, axis=1)
    assert np.array_equal(stack.images, voxels().transpose(1, 2, 0))


def test_the_slice_axis_may_be_named_for_some_stacks(tmp_path: Path) -> None:
    for name in ("iso", "thick"):
        affine = np.eye(4) if name == "iso" else AFFINE
        save(tmp_path / f"raw/{name}.nii.gz", voxels(len(name)), affine)
        save(tmp_path / f"raw/{name}_mask.nii.gz", brain(), affine)
    split = ("iso=train", "thick=normal")
    options = ImportOptions(split=split, slice_axis=("is*=j",))
    dataset = import_dataset(tmp_path / "raw", tmp_path / "set", options)
    assert dataset.images("iso").shape == (10, 4, 12)
    assert dataset.images("thick").shape == (4, 10, 12)
    assert set(dataset.rows("train")["slice_axis"]) == {1}
    for wrong, says in (("x", "write i, j or k"), ("nobody=k", "is named 'nobody'")):
        with pytest.raises(UsageError, match=says):
            import_dataset(
                tmp_path / "raw", tmp_path / "no", ImportOptions(split=split, slice_axis=(wrong,))
            )


@pytest.mark.parametrize("off", [0.005, 0.02, 0.04, 0.06])
def test_a_half_turn_that_a_quaternion_cannot_hold_is_no_conflict(
    tmp_path: Path, off: float
) -> None:
    affine = turned(180 - off)
    shape = (256, 256, 4)
    mask = np.zeros(shape, np.uint8)
    mask[100:140, 90:150, 1:] = 1
    image = save(tmp_path / "i.nii.gz", voxels(0, shape), affine)
    stack = load(image, save(tmp_path / "m.nii.gz", mask, affine))
    assert np.allclose(stack.affine, affine, atol=1e-5)
    assert any("single precision" in text for text in stack.warnings)
    # A file without the sform lies on the same grid.
    only_qform = patch(save(tmp_path / "q.nii.gz", mask, affine), "sform_code", 0)
    assert load(image, only_qform).masks.sum() == mask.sum()


def test_a_qform_of_another_place_is_a_conflict_with_a_remedy_that_works(tmp_path: Path) -> None:
    image, mask = pair(tmp_path)
    patch(image, "qoffset_x", 5.0)
    with pytest.raises(DataError, match=r"sform and qform.*qform_code to 0"):
        load(image, mask)
    patch(image, "qform_code", 0)
    assert load(image, mask).masks.any()


def test_two_spaces_by_design_are_no_conflict(tmp_path: Path) -> None:
    """Codes 4 and 1: the sform is a template's, moved but not scaled."""
    moved = AFFINE.copy()
    moved[:3, 3] += 40
    image, mask = pair(tmp_path)
    for path in (image, mask):
        file = nib.Nifti1Image.from_filename(path)
        file.header.set_sform(moved, code=4)
        copy = nib.Nifti1Image(np.asarray(file.dataobj), None, file.header)
        nib.save(copy, tmp_path / f"new_{path.name}")
    stack = load(tmp_path / "new_image.nii.gz", tmp_path / "new_mask.nii.gz")
    assert any("two spaces" in text for text in stack.warnings)


def test_a_bad_quaternion_beside_a_valid_sform_is_a_warning(tmp_path: Path) -> None:
    image, mask = pair(tmp_path)
    patch(image, "quatern_b", 3.0)
    stack = load(image, mask)
    assert any("not a rotation" in text for text in stack.warnings)
    patch(image, "sform_code", 0)
    with pytest.raises(DataError, match=r"quaternion .* is not a rotation"):
        load(image, mask)


def test_an_empty_sform_gives_way_to_the_qform(tmp_path: Path) -> None:
    image, mask = pair(tmp_path)
    for row in ("srow_x", "srow_y", "srow_z"):
        patch(image, row, [0, 0, 0, 0])
    stack = load(image, mask)
    assert any("its qform is used" in text for text in stack.warnings)
    patch(image, "qform_code", 0)
    with pytest.raises(DataError, match="not a mapping to space"):
        load(image, mask)


def test_a_sheared_sform_is_refused(tmp_path: Path) -> None:
    sheared = np.diag([1.1, 1.1, 3.2, 1.0])
    sheared[0, 1] = 0.2
    image, mask = pair(tmp_path, sheared)
    with pytest.raises(DataError, match=r"i and j are 10\.3 degrees from a right angle"):
        load(image, mask)


@pytest.mark.parametrize(("code", "factor"), [(1, 1e-3), (2, 1), (3, 1e3), (0, 1)])
def test_units_of_length_are_heeded(tmp_path: Path, code: int, factor: float) -> None:
    image, mask = pair(tmp_path, np.diag([1.1 * factor, 1.2 * factor, 3.2 * factor, 1]))
    for path in (image, mask):
        patch(path, "xyzt_units", code | 8)
    stack = load(image, mask)
    assert (*stack.spacing_mm, stack.thickness_mm) == pytest.approx((1.2, 1.1, 3.2), rel=1e-5)


@pytest.mark.parametrize(("code", "factor"), [(1, 1), (3, 1), (2, 1e-3), (2, 1e3), (5, 1)])
def test_spacings_that_no_image_has_are_refused(tmp_path: Path, code: int, factor: float) -> None:
    image, mask = pair(tmp_path, np.diag([1.1 * factor, 1.2 * factor, 3.2 * factor, 1]))
    for path in (image, mask):
        patch(path, "xyzt_units", code)
    with pytest.raises(DataError, match="xyzt_units"):
        load(image, mask)


@pytest.mark.parametrize("extra", [(1,), (1, 1), (1, 1, 1, 1)])
def test_trailing_axes_of_one_voxel_are_none(tmp_path: Path, extra: tuple[int, ...]) -> None:
    image, mask = pair(tmp_path)
    save(mask, brain().reshape(*brain().shape, *extra))
    assert np.array_equal(load(image, mask).masks, brain().transpose(2, 1, 0))


@pytest.mark.parametrize(("gap", "warned"), [(5e-4, False), (0.0013, True), (0.04, True)])
def test_a_grid_that_differs_by_rounding_is_the_same(
    tmp_path: Path, gap: float, warned: bool
) -> None:
    moved = AFFINE.copy()
    moved[1, 3] += 1.1 * gap
    stack = load(*pair(tmp_path, mask_affine=moved))
    assert any("voxels away" in text for text in stack.warnings) == warned
    moved[1, 3] += 1.1 * 0.06
    with pytest.raises(DataError, match="voxels away"):
        load(*pair(tmp_path, mask_affine=moved))


@pytest.mark.parametrize("code", ["LAS", "RPI", "ASR", "SAL"])
def test_a_mask_stored_flipped_or_turned_on_the_same_grid(tmp_path: Path, code: str) -> None:
    image, _ = pair(tmp_path)
    whole = nib.Nifti1Image(brain(), AFFINE)
    start = nib.orientations.io_orientation(AFFINE)
    wanted = nib.orientations.axcodes2ornt(code)
    turn = nib.orientations.ornt_transform(start, wanted)
    other = whole.as_reoriented(turn.tolist())
    assert other.affine is not None
    mask = save(tmp_path / "turned.nii.gz", np.asarray(other.dataobj), other.affine)
    stack = load(image, mask)
    assert np.array_equal(stack.masks, brain().transpose(2, 1, 0))
    assert any("turned to the image's" in text for text in stack.warnings)


def test_warnings_of_stacks_are_kept_with_the_data_set(tmp_path: Path) -> None:
    moved = AFFINE.copy()
    moved[1, 3] += 0.01
    for name in ("a", "b"):
        save(tmp_path / f"raw/{name}.nii.gz", voxels(ord(name)))
        save(tmp_path / f"raw/{name}_mask.nii.gz", brain(), moved)
    options = ImportOptions(split=("a=train", "b=normal"))
    dataset = import_dataset(tmp_path / "raw", tmp_path / "set", options)
    assert [text.split(":")[0] for text in dataset.meta.warnings] == ["a", "b"]
    rows, fault = check(tmp_path / "raw")
    assert "voxels away" in rows[0]["reason"]
    assert fault == ""
