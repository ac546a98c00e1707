"""Which values of a mask are the brain: scales, several labels, and what nobody annotated."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from harness.data.cases import Case, load_case
from harness.data.checking import CheckOptions, check_folder
from harness.data.derivatives import write_derivatives
from harness.data.importing import ImportOptions, import_dataset
from harness.data.labels import Labels, parse_labels
from harness.errors import DataError, UsageError
from tests.data.nifti_files import brain, patch, save, voxels


def masks(tmp_path: Path, values: np.ndarray, labels: Labels | None = None) -> np.ndarray:
    image = save(tmp_path / "i.nii.gz", voxels())
    mask = save(tmp_path / "m.nii.gz", values)
    found = Labels().overridden(labels)
    case = Case(stack="a", subject="a", image=image, mask=mask, source="i", labels=found)
    return load_case(case, "train").masks.transpose(2, 1, 0)


@pytest.mark.parametrize(
    "values",
    [
        brain() * np.uint8(255),
        brain() * np.float32(10.921457),
        brain() + np.float32(1.4e-45),
        np.where(brain(), 1.0, -0.0).astype(np.float32),
        brain() * np.float32(0.9999),
    ],
    ids=["255", "scaled", "dust", "minus zero", "resampled"],
)
def test_masks_of_two_values_in_other_clothes(tmp_path: Path, values: np.ndarray) -> None:
    assert np.array_equal(masks(tmp_path, values), brain())


@pytest.mark.parametrize("slope", [0.0, np.nan])
def test_a_slope_that_says_nothing(tmp_path: Path, slope: float) -> None:
    image, mask = save(tmp_path / "i.nii.gz", voxels()), save(tmp_path / "m.nii.gz", brain())
    patch(patch(mask, "scl_slope", slope), "scl_inter", slope)
    case = Case(stack="a", subject="a", image=image, mask=mask, source="i")
    assert load_case(case, "train").masks.sum() == brain().sum()


def test_what_is_packed_is_told_by_its_bytes(tmp_path: Path) -> None:
    image, mask = save(tmp_path / "i.nii.gz", voxels()), save(tmp_path / "m.nii.gz", brain())
    image = image.rename(tmp_path / "i.nii")
    mask.write_bytes(gzip.decompress(mask.read_bytes()))
    case = Case(stack="a", subject="a", image=image, mask=mask, source="i")
    assert load_case(case, "train").masks.sum() == brain().sum()


TISSUES = (np.random.default_rng(5).integers(1, 8, brain().shape) * brain()).astype(np.uint8)


@pytest.mark.parametrize(
    ("brains", "others", "kept"),
    [
        ("1,2,3,4,5,6,7", "", range(1, 8)),
        ("1-7", "", range(1, 8)),
        ("all", "", range(1, 8)),
        ("2-7", "1", range(2, 8)),
        ("all", "1", range(2, 8)),
    ],
)
def test_labels_of_several_structures(
    tmp_path: Path, brains: str, others: str, kept: range
) -> None:
    found = masks(tmp_path, TISSUES, parse_labels(brains, others))
    assert np.array_equal(found, np.isin(TISSUES, kept))


@pytest.mark.parametrize(
    ("values", "labels", "says"),
    [
        (TISSUES, None, "--brain-labels"),
        (brain() * 3, None, "no binary mask, it holds 3"),
        (TISSUES, parse_labels("2-7"), "holds 1, which .*--other-labels"),
        (TISSUES * np.float32(1.5), parse_labels("all"), "which is no label"),
    ],
)
def test_unknown_values_stay_an_error(
    tmp_path: Path, values: np.ndarray, labels: Labels | None, says: str
) -> None:
    with pytest.raises(DataError, match=says):
        masks(tmp_path, values, labels)


@pytest.mark.parametrize(
    ("brains", "others", "ignored", "says"),
    [
        ("1,b", "", "", "expected labels"),
        ("1", "1", "", "named twice"),
        ("0,1", "", "", "background"),
    ],
)
def test_labels_that_contradict(brains: str, others: str, ignored: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        parse_labels(brains, others, ignored)


def test_label_maps_in_bids_need_the_labels_to_be_named(tmp_path: Path) -> None:
    """As FeTA has them: a dseg beside its image."""
    for number in (1, 2):
        folder = tmp_path / f"raw/sub-{number:03d}/anat"
        save(folder / f"sub-{number:03d}_rec-mial_T2w.nii.gz", voxels(number))
        save(folder / f"sub-{number:03d}_rec-mial_dseg.nii.gz", TISSUES)
    rows, fault = check_folder(tmp_path / "raw", CheckOptions())
    assert "--brain-labels" in rows[0]["reason"]
    assert fault
    options = CheckOptions(labels=parse_labels("all"))
    rows, fault = check_folder(tmp_path / "raw", options)
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert fault == ""


def annotated_in_part(raw: Path) -> np.ndarray:
    """nnU-Net's form; the first slice of each stack was drawn by nobody, one voxel of the last."""
    mask = brain().copy()
    mask[:, :, 0] = 2
    mask[0, 0, 3] = 2
    for part, number in (("Tr", 1), ("Tr", 2), ("Ts", 3)):
        save(raw / f"images{part}/fetus{number}_0000.nii.gz", voxels(number))
        save(raw / f"labels{part}/fetus{number}.nii.gz", mask)
    labels = {"background": 0, "brain": 1, "ignore": 2}
    (raw / "dataset.json").write_text(json.dumps({"labels": labels}))
    return mask


def test_slices_that_nobody_annotated_are_left_out_and_listed(tmp_path: Path) -> None:
    annotated_in_part(tmp_path / "raw")
    dataset = import_dataset(tmp_path / "raw", tmp_path / "set", ImportOptions())
    assert dataset.meta.sets["train"].slices == 4
    assert list(dataset.rows("normal")["slice"]) == [1, 2]
    said = [item for item in dataset.meta.excluded if item.case == "fetus3"]
    assert said[0].reason == "slices 0, 3: not annotated (label ignore)"
    # A prediction goes back to the place of its slice in the source.
    rows = dataset.rows("normal")
    predictions = rows[["stack", "slice", "height", "width"]].assign(
        mask=[np.packbits(dataset.masks("fetus3")[index]).tobytes() for index in rows["slice"]]
    )
    (written,) = write_derivatives(
        dataset, pd.DataFrame(predictions), tmp_path / "out", network="Otsu"
    )
    again = np.asarray(nib.Nifti1Image.from_filename(written).dataobj)
    assert again.shape == brain().shape
    assert np.array_equal(again[:, :, 1:3], brain()[:, :, 1:3])
    assert not again[:, :, [0, 3]].any()


def test_ignored_labels_may_be_named_in_any_form(tmp_path: Path) -> None:
    values = brain().copy()
    values[:, :, 0] = 9
    for name in ("a", "b"):
        save(tmp_path / f"raw/{name}.nii.gz", voxels(ord(name)))
        save(tmp_path / f"raw/{name}_mask.nii.gz", values)
    options = ImportOptions(split=("a=train", "b=normal"), labels=parse_labels("", "", "9"))
    dataset = import_dataset(tmp_path / "raw", tmp_path / "set", options)
    assert list(dataset.rows("train")["slice"]) == [1, 2, 3]


def test_arrays_have_labels_too(tmp_path: Path) -> None:
    values = np.zeros((4, 16, 16), np.uint8)
    values[0, 2:9, 2:9], values[1, 3:9, 3:9], values[2, :4], values[3, 5:8] = 3, 4, 9, 3
    (tmp_path / "raw").mkdir()
    for name in ("train", "test_normal"):
        np.save(
            tmp_path / f"raw/X_{name}.npy", np.random.default_rng(len(name)).random((4, 16, 16))
        )
        np.save(tmp_path / f"raw/y_{name}.npy", values)
    options = ImportOptions(labels=parse_labels("3,4", "", "9"))
    dataset = import_dataset(tmp_path / "raw", tmp_path / "set", options)
    rows = dataset.rows("normal")
    assert list(rows["slice"]) == [0, 1, 3]
    assert list(rows["brain_pixels"]) == [49, 36, 48]
    with pytest.raises(DataError, match="--brain-labels"):
        import_dataset(tmp_path / "raw", tmp_path / "other", ImportOptions())
