"""The other forms that people's data come in, written by NumPy and nibabel."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data.importing import ImportOptions, import_dataset
from harness.errors import DataError, UsageError
from tests.data.nifti_files import brain, check, save, voxels

AUTO = ImportOptions()


def test_plain_folder(tmp_path: Path) -> None:
    for subject in ("anna", "berta"):
        save(tmp_path / "raw" / subject / "t2.nii.gz", voxels(len(subject)))
        save(tmp_path / "raw" / subject / "t2_mask.nii.gz", brain())
    options = ImportOptions(split=("anna=train", "berta=normal"))
    dataset = import_dataset(tmp_path / "raw", tmp_path / "set", options)
    assert dataset.meta.kind == "nifti"
    assert set(dataset.slices["stack"]) == {"anna_t2", "berta_t2"}


def test_images_and_masks_in_sibling_folders(tmp_path: Path) -> None:
    for number in (1, 2):
        save(tmp_path / "raw/images" / f"case{number}.nii", voxels(number))
        save(tmp_path / "raw/masks" / f"case{number}.nii", brain())
    options = ImportOptions(split=("case1=train", "case2=normal"), form="nifti")
    dataset = import_dataset(tmp_path / "raw", tmp_path / "set", options)
    assert dataset.meta.sets["normal"].slices_with_brain == 3


@pytest.mark.parametrize("source", ["raw", "raw/images"])
def test_masks_lie_under_the_subjects_of_the_images(tmp_path: Path, source: str) -> None:
    for seed, subject in enumerate(("anna", "berta")):
        save(tmp_path / "raw/images" / subject / "t2.nii", voxels(seed))
        save(tmp_path / "raw/masks" / subject / "t2.nii", brain())
    # A mask at the images' own level belongs to neither subject.
    save(tmp_path / "raw/masks/t2.nii", 1 - brain())
    options = ImportOptions(split=("anna=train", "berta=normal"), form="nifti")
    dataset = import_dataset(tmp_path / source, tmp_path / "set", options)
    assert set(dataset.slices["stack"]) == {"anna_t2", "berta_t2"}
    assert np.array_equal(dataset.masks("berta_t2"), brain().transpose(2, 1, 0))


def test_csv_of_pairs_with_sets(tmp_path: Path) -> None:
    lines = ["image,mask,subject,set,gestational_age_weeks"]
    for number, name in ((1, "train"), (2, "normal"), (3, "challenging")):
        save(tmp_path / f"i{number}.nii.gz", voxels(number))
        save(tmp_path / f"m{number}.nii.gz", brain())
        lines.append(f"i{number}.nii.gz,m{number}.nii.gz,fetus{number},{name},{25 + number}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    dataset = import_dataset(tmp_path / "pairs.csv", tmp_path / "set", ImportOptions())
    assert dataset.meta.split == {"by": "given"}
    assert set(dataset.rows("challenging")["gestational_age_weeks"]) == {28.0}


def test_rows_of_one_file_name_in_two_folders_stay_two_stacks(tmp_path: Path) -> None:
    lines = ["image,mask,set"]
    for seed, name in enumerate(("train", "normal")):
        save(tmp_path / name / "t2.nii.gz", voxels(seed))
        save(tmp_path / name / "brain.nii.gz", brain())
        lines.append(f"./{name}/t2.nii.gz,{name}/brain.nii.gz,{name}")
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    dataset = import_dataset(tmp_path / "pairs.csv", tmp_path / "set", ImportOptions())
    assert set(dataset.rows("train")["stack"]) == {"train_t2"}
    assert set(dataset.rows("normal")["subject"]) == {"normal_t2"}
    assert set(dataset.rows("normal")["source"]) == {"normal/t2.nii.gz"}


def test_two_stacks_of_one_name_are_refused(tmp_path: Path) -> None:
    lines = ["image,mask,stack,set", "a.nii,m.nii,one,train", "b.nii,m.nii,one,normal"]
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    for read in (check, lambda source: import_dataset(source, tmp_path / "set", AUTO)):
        with pytest.raises(DataError, match=r"a\.nii and b\.nii are both the stack 'one'"):
            read(tmp_path / "pairs.csv")


def test_what_is_said_of_a_csv_row_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    lines = ["image,mask,set"]
    for number in range(6):
        save(tmp_path / f"i{number}.nii.gz", voxels(number))
        save(tmp_path / f"m{number}.nii.gz", brain())
        lines.append(f"./i{number}.nii.gz,./m{number}.nii.gz,train")
    (tmp_path / "m0.nii.gz").unlink()
    (tmp_path / "pairs.csv").write_text("\n".join(lines))
    dataset = import_dataset(tmp_path / "pairs.csv", tmp_path / "set", AUTO)
    assert [item.case for item in dataset.meta.excluded] == ["i0"]
    assert dataset.meta.excluded[0].reason.startswith("m0.nii.gz: no such file")
    assert str(tmp_path) not in dataset.meta.model_dump_json()


@pytest.mark.parametrize("age", ["inf", "nan", "200", "0", "young"])
def test_an_age_that_is_no_fetus_is_refused(tmp_path: Path, age: str) -> None:
    text = f"image,mask,set,gestational_age_weeks\ni.nii,m.nii,train,{age}\n"
    (tmp_path / "pairs.csv").write_text(text)
    with pytest.raises(DataError, match=f"line 2: '{age}' is no age of a fetus"):
        check(tmp_path / "pairs.csv", 0.2)


def test_a_row_without_an_image_is_named(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("image,mask\na.nii,m.nii\n,m.nii\n")
    with pytest.raises(DataError, match="line 3: names no image"):
        import_dataset(tmp_path / "pairs.csv", tmp_path / "set", ImportOptions())


def test_nnunet(tmp_path: Path) -> None:
    raw = tmp_path / "Dataset001"
    for part, number in (("Tr", 1), ("Tr", 2), ("Ts", 3)):
        save(raw / f"images{part}" / f"fetus{number}_0000.nii.gz", voxels(number))
        save(raw / f"labels{part}" / f"fetus{number}.nii.gz", brain())
    labels = {"channel_names": {"0": "T2"}, "labels": {"background": 0, "brain": 1}}
    (raw / "dataset.json").write_text(json.dumps(labels))
    dataset = import_dataset(raw, tmp_path / "set", ImportOptions())
    assert dataset.meta.kind == "nnunet"
    assert dataset.meta.sets["train"].stacks == 2
    assert set(dataset.rows("normal")["stack"]) == {"fetus3"}


def nnunet(raw: Path, described: dict[str, object], labelled: str = "TrTs") -> Path:
    """Two training cases and a test case; the brain has the label 2, the body around it 1."""
    for part, number in (("Tr", 1), ("Tr", 2), ("Ts", 3)):
        save(raw / f"images{part}" / f"fetus{number}_0000.nii.gz", voxels(number))
        if part in labelled:
            mask = np.where(brain() == 1, 2, np.pad(brain(), 1)[:-2, 1:-1, 1:-1])
            save(raw / f"labels{part}" / f"fetus{number}.nii.gz", mask.astype(np.uint8))
    (raw / "dataset.json").write_text(json.dumps(described))
    return raw


@pytest.mark.parametrize(
    "labels",
    [
        {"background": 0, "body": 1, "Brain": 2},
        {"0": "background", "1": "body", "2": "brain"},
        {"background": 0, "body": 1, "brain": [2]},
    ],
)
def test_nnunet_labels_say_which_is_the_brain(tmp_path: Path, labels: dict[str, object]) -> None:
    source = nnunet(tmp_path / "raw", {"labels": labels, "file_ending": ".nii.gz"})
    dataset = import_dataset(source, tmp_path / "set", AUTO)
    assert np.array_equal(dataset.masks("fetus3"), brain().transpose(2, 1, 0))


def test_nnunet_region_of_several_labels(tmp_path: Path) -> None:
    labels = {"background": 0, "brain": [1, 2], "csf": 2}
    source = nnunet(tmp_path / "raw", {"labels": labels})
    dataset = import_dataset(source, tmp_path / "set", AUTO)
    assert dataset.masks("fetus1").sum() > brain().sum()


@pytest.mark.parametrize(
    ("described", "says"),
    [
        ({"labels": {"background": 0, "csf": 1, "cortex": 2}}, 'call the one.*"brain"'),
        ({"labels": {"background": 0}}, "of no structure"),
        ({"labels": ["brain"]}, "name: number"),
        ({"labels": {"brain": "first"}}, "name: number"),
        ({"file_ending": ".nrrd"}, r"'\.nrrd' is not read"),
        ([], "no JSON object"),
    ],
)
def test_nnunet_that_does_not_say_where_the_brain_is(
    tmp_path: Path, described: dict[str, object], says: str
) -> None:
    source = nnunet(tmp_path / "raw", described)
    with pytest.raises(DataError, match=says):
        import_dataset(source, tmp_path / "set", AUTO)


def test_nnunet_label_that_is_not_named(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "raw", {"labels": {"background": 0, "brain": 2}})
    rows, fault = check(source, 0.2)
    assert "holds 1, which dataset.json does not name" in rows[0]["reason"]
    assert "3 of 3" in fault


def test_nnunet_file_ending_chooses_between_copies(tmp_path: Path) -> None:
    labels = {"background": 0, "body": 1, "brain": 2}
    source = nnunet(tmp_path / "raw", {"labels": labels, "file_ending": ".nii.gz"})
    save(source / "imagesTr/fetus1_0000.nii", voxels(9))
    dataset = import_dataset(source, tmp_path / "set", AUTO)
    assert dataset.meta.sets["train"].stacks == 2
    assert np.array_equal(dataset.images("fetus1")[0], voxels(1)[:, :, 0].T)


def test_nnunet_tests_without_labels_are_left_out_and_listed(tmp_path: Path) -> None:
    labels = {"background": 0, "body": 1, "brain": 2}
    source = nnunet(tmp_path / "raw", {"labels": labels}, labelled="Tr")
    dataset = import_dataset(source, tmp_path / "set", AUTO)
    assert set(dataset.meta.sets) == {"train"}
    assert [item.case for item in dataset.meta.excluded] == ["fetus3"]
    assert "labelsTs is not there" in dataset.meta.excluded[0].reason
    rows, fault = check(source, 0.0)
    assert [row["status"] for row in rows] == ["ok", "ok", "left out"]
    assert fault == ""


def test_the_check_of_a_raw_source_finds_leaks_between_its_sets(tmp_path: Path) -> None:
    source = nnunet(tmp_path / "raw", {"labels": {"background": 0, "body": 1, "brain": 2}})
    assert check(source, 0.2)[1] == ""
    save(source / "imagesTs/fetus3_0000.nii.gz", voxels(2))
    assert "is the same image as slice 0 of fetus2 (train)" in check(source, 0.2)[1]
    save(source / "imagesTs/fetus2_run-2_0000.nii.gz", voxels(7))
    save(source / "labelsTs/fetus2_run-2.nii.gz", brain())
    assert "fetus2 is in the sets train and normal" in check(source, 0.2)[1]


def arrays(folder: Path) -> Path:
    folder.mkdir()
    for seed, (name, count) in enumerate((("train", 6), ("test_normal", 3))):
        images = np.random.default_rng(seed).random((count, 16, 16, 1))
        np.save(folder / f"X_{name}.npy", images)
        np.save(folder / f"y_{name}.npy", (images > 0.8).astype(np.float32))
    return folder


def test_arrays_of_the_papers_code(tmp_path: Path) -> None:
    source = arrays(tmp_path / "raw")
    np.save(source / "groups_train.npy", np.array([1, 1, 2, 2, 2, 3]))
    dataset = import_dataset(source, tmp_path / "set", ImportOptions())
    assert dataset.meta.sets["train"].subjects == 3
    assert dataset.images("sub-002_X_train").shape == (3, 16, 16)
    expected = np.load(source / "X_train.npy")[2:5, :, :, 0].astype(np.float32)
    assert np.array_equal(dataset.images("sub-002_X_train"), expected)
    assert any("spacing" in warning for warning in dataset.meta.warnings)


def pickled(path: Path) -> None:
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)


def archived(path: Path) -> None:
    with path.open("wb") as stream:
        np.savez(stream, images=np.zeros((6, 16, 16)))


def with_header(header: str) -> Callable[[Path], object]:
    text = header.encode().ljust(117) + b"\n"
    start = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little")
    return lambda path: path.write_bytes(start + text)


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "pickle": (pickled, "no plain NumPy array"),
    "archive": (archived, "no plain NumPy array"),
    "zip without contents": (lambda path: path.write_bytes(b"PK\x03\x04" * 9), "no plain"),
    "empty": (lambda path: path.write_bytes(b""), "no plain NumPy array"),
    "cut off": (lambda path: path.write_bytes(path.read_bytes()[:300]), "no plain NumPy array"),
    "unclosed header": (with_header("{'descr': '<f4', 'shape': (((("), "no plain"),
    "header of another thing": (with_header("[1, 2]"), "no plain NumPy array"),
    "made-up size": (
        with_header(f"{{'descr': '<f4', 'fortran_order': False, 'shape': ({10**30}, 16, 16)}}"),
        "no plain NumPy array",
    ),
    "negative size": (
        with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (-6, 16, 16)}"),
        "X_train",
    ),
    "zero side": (lambda path: np.save(path, np.zeros((6, 0, 16))), "expected numbers"),
    "complex": (lambda path: np.save(path, np.zeros((6, 16, 16), complex)), "expected numbers"),
    "too wide": (lambda path: np.save(path, np.zeros((1, 1, 1025))), "larger than 1024"),
}


@pytest.mark.parametrize(("damage", "says"), DAMAGED.values(), ids=DAMAGED.keys())
def test_damaged_arrays_are_one_typed_error(
    tmp_path: Path, damage: Callable[[Path], object], says: str
) -> None:
    source = arrays(tmp_path / "raw")
    damage(source / "X_train.npy")
    with pytest.raises(DataError, match=says):
        import_dataset(source, tmp_path / "set", ImportOptions())


def nan_pixel(images: np.ndarray, _: np.ndarray) -> None:
    images[0, 3, 3] = np.nan


def constant(images: np.ndarray, _: np.ndarray) -> None:
    images[0] = 4


def soft_mask(_: np.ndarray, masks: np.ndarray) -> None:
    masks[0, 3, 3] = 0.5


def nan_mask(_: np.ndarray, masks: np.ndarray) -> None:
    masks[0, 3, 3] = np.nan


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (nan_pixel, "X_train.npy: sub-000 holds NaN"),
        (constant, "X_train.npy: every pixel of sub-000 is 4"),
        (soft_mask, "y_train.npy: sub-000 is no binary mask"),
        (nan_mask, "y_train.npy: sub-000 is no binary mask"),
    ],
)
def test_unfit_subjects_of_arrays_are_listed_and_the_rest_is_used(
    tmp_path: Path, spoil: Callable[[np.ndarray, np.ndarray], None], says: str
) -> None:
    source = arrays(tmp_path / "raw")
    np.save(source / "groups_train.npy", np.arange(6))
    images, masks = np.load(source / "X_train.npy"), np.load(source / "y_train.npy")
    spoil(images, masks)
    np.save(source / "X_train.npy", images)
    np.save(source / "y_train.npy", masks)
    dataset = import_dataset(source, tmp_path / "set", AUTO)
    assert dataset.meta.sets["train"].subjects == 5
    assert [item.case for item in dataset.meta.excluded] == ["sub-000_X_train"]
    assert dataset.meta.excluded[0].reason.startswith(says)
    rows, fault = check(source, 0.2)
    assert [row["status"] for row in rows] == ["excluded"] + ["ok"] * 6
    assert fault == ""
    assert "1 of 7" in check(source, 0.1)[1]


def test_the_check_of_arrays_finds_a_subject_in_two_sets(tmp_path: Path) -> None:
    source = arrays(tmp_path / "raw")
    np.save(source / "groups_train.npy", np.array([1, 1, 2, 2, 2, 3]))
    np.save(source / "groups_test_normal.npy", np.array([3, 4, 4]))
    _, fault = check(source, 0.2)
    assert "sub-003 is in the sets train and normal" in fault


def test_arrays_come_divided(tmp_path: Path) -> None:
    source = arrays(tmp_path / "raw")
    with pytest.raises(UsageError, match="leave it out"):
        import_dataset(source, tmp_path / "set", ImportOptions(split=("a=train",)))


def test_folder_without_anything_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="known form"):
        import_dataset(tmp_path, tmp_path / "set", ImportOptions())
