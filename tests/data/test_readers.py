"""The other forms that people's data come in, written by NumPy and nibabel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.data.importing import ImportOptions, import_dataset
from harness.errors import DataError, UsageError
from tests.data.nifti_files import brain, save, voxels


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


def test_csv_of_pairs_stays_in_its_folder(tmp_path: Path) -> None:
    (tmp_path / "pairs.csv").write_text("image,mask\n../../etc/passwd,m.nii\n")
    with pytest.raises(DataError, match="line 2"):
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


def test_arrays_do_not_open_pickles(tmp_path: Path) -> None:
    source = arrays(tmp_path / "raw")
    np.save(source / "X_train.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    with pytest.raises(DataError, match="no plain NumPy array"):
        import_dataset(source, tmp_path / "set", ImportOptions())


def test_arrays_come_divided(tmp_path: Path) -> None:
    source = arrays(tmp_path / "raw")
    with pytest.raises(UsageError, match="leave it out"):
        import_dataset(source, tmp_path / "set", ImportOptions(split=("a=train",)))


def test_folder_without_anything_known(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(DataError, match="known form"):
        import_dataset(tmp_path, tmp_path / "set", ImportOptions())
