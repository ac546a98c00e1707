"""BIDS in both mask namings → data set: splits, leaks, exclusions, and the real stacks."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from harness.data.catalogue import open_dataset
from harness.data.importing import ImportOptions, import_dataset
from harness.data.readers import find_cases
from harness.errors import DataError, UsageError
from tests.data.nifti_files import bids, brain, check, save, voxels

ROOT = Path(__file__).parents[2]
REAL = Path(os.environ.get("FETALBENCH_REAL_DATA", ROOT / "../shared/data/mialsrtk"))
BY_SUBJECT = ("sub-01,sub-02=train", "sub-03=normal")

real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason=f"no real stacks at {REAL} (set FETALBENCH_REAL_DATA)"
)


@pytest.mark.parametrize("wild", [False, True])
def test_bids_in_both_mask_namings(tmp_path: Path, wild: bool) -> None:
    source = bids(tmp_path / "raw", wild=wild)
    dataset = import_dataset(source, tmp_path / "set", ImportOptions(split=BY_SUBJECT))
    assert dataset.meta.sets["train"].stacks == 4
    assert dataset.meta.sets["normal"].subjects == 1
    assert dataset.meta.warnings == []
    row = dataset.rows("normal").to_dict("records")[0]
    assert row["source"] == "sub-03/anat/sub-03_run-1_T2w.nii.gz"
    assert np.array_equal(
        dataset.images("sub-03_run-1"), voxels(31).transpose(2, 1, 0).astype(np.float32)
    )
    assert np.array_equal(dataset.masks("sub-03_run-1"), brain().transpose(2, 1, 0))


def test_sessions_acquisitions_and_ages(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw", subjects=1, runs=1)
    stem = "sub-02_ses-b_acq-haste_rec-sr_run-1"
    save(source / "sub-02/ses-b/anat" / f"{stem}_T2w.nii", voxels(5))
    save(source / "derivatives/m/sub-02/ses-b/anat" / f"{stem}_desc-brain_mask.nii", brain())
    ages = "participant_id\tgestational_age\nsub-01\t24.5\nsub-02\tn/a\n"
    (source / "participants.tsv").write_text(ages)
    options = ImportOptions(split=("sub-01=train", "sub-02=normal"))
    dataset = import_dataset(source, tmp_path / "set", options)
    assert set(dataset.rows("normal")["session"]) == {"ses-b"}
    assert set(dataset.rows("normal")["stack"]) == {stem}
    assert set(dataset.rows("train")["gestational_age_weeks"]) == {24.5}
    assert dataset.rows("normal")["gestational_age_weeks"].isna().all()


@pytest.mark.parametrize(
    ("sidecar", "expected"),
    [
        (None, {None}),
        ('{"age": {"Description": "age of the mother", "Units": "years"}}', {None}),
        ('{"age": {"Units": "weeks"}}', {31.0, 24.0}),
        ('{"age": "weeks"}', {None}),
        ("{", {None}),
    ],
)
def test_a_mothers_age_is_none_of_her_childs(
    tmp_path: Path, sidecar: str | None, expected: set[float | None]
) -> None:
    source = bids(tmp_path / "raw", subjects=2, runs=1)
    ages = "participant_id\tage\nsub-01\t31\nsub-02\t24\n"
    (source / "participants.tsv").write_text(ages, encoding="utf-8")
    if sidecar:
        (source / "participants.json").write_text(sidecar)
    cases = find_cases(source, "bids")
    assert {case.gestational_age_weeks for case in cases} == expected


def test_a_table_that_a_spreadsheet_wrote(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw", subjects=1, runs=1)
    table = "participant_id\tga_weeks\nsub-01\t31\n"
    (source / "participants.tsv").write_text(table, encoding="utf-8-sig")
    assert find_cases(source, "bids")[0].gestational_age_weeks == 31


def test_runs_without_split_by_stack_are_refused_with_the_remedy(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw")
    options = ImportOptions(split=("run-1=train", "run-2=normal"))
    with pytest.raises(UsageError, match="--split-by stack"):
        import_dataset(source, tmp_path / "set", options)
    assert not (tmp_path / "set").exists()


def test_split_by_stack_on_explicit_wish_is_recorded(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw", subjects=1)
    options = ImportOptions(split=("run-1=train", "run-2=normal"), split_by="stack")
    dataset = import_dataset(source, tmp_path / "set", options)
    assert dataset.meta.split["by"] == "stack"
    assert "trained on" in dataset.meta.warnings[0]


@pytest.mark.parametrize(
    ("split", "says"),
    [
        ((), "no --split"),
        (("sub-01=training",), "names=set"),
        (("sub-09=train",), "no subject is named 'sub-09'"),
        (("sub-01=train", "sub-01=normal"), "is put into"),
        (("sub-01=train", "01=normal"), "falls into"),
    ],
)
def test_wrong_splits(tmp_path: Path, split: tuple[str, ...], says: str) -> None:
    source = bids(tmp_path / "raw")
    with pytest.raises(UsageError, match=says):
        import_dataset(source, tmp_path / "set", ImportOptions(split=split))


def test_identical_slice_in_two_sets_is_a_leak(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw")
    copied = voxels(11)
    copied[:, :, :3] = voxels(77)[:, :, :3]
    save(source / "sub-03/anat/sub-03_run-2_T2w.nii.gz", copied)
    with pytest.raises(DataError, match="same image"):
        import_dataset(source, tmp_path / "set", ImportOptions(split=BY_SUBJECT))
    assert [path.name for path in tmp_path.iterdir()] == ["raw"]


def test_unfit_cases_are_listed_up_to_the_stated_share(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw")
    save(source / "sub-01/anat/sub-01_run-1_T2w.nii.gz", voxels(0, (5, 5, 5)))
    dataset = import_dataset(source, tmp_path / "set", ImportOptions(split=BY_SUBJECT))
    assert [item.case for item in dataset.meta.excluded] == ["sub-01_run-1"]
    assert "shape" in dataset.meta.excluded[0].reason
    assert str(tmp_path) not in dataset.meta.excluded[0].reason
    strict = ImportOptions(split=BY_SUBJECT, largest_excluded_share=0.1)
    with pytest.raises(DataError, match="1 of 6 stacks"):
        import_dataset(source, tmp_path / "strict", strict)


def test_subjects_that_no_split_names_are_left_out_and_listed(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw")
    options = ImportOptions(split=("sub-01=train", "sub-02=normal"))
    dataset = import_dataset(source, tmp_path / "set", options)
    assert {item.reason for item in dataset.meta.excluded} == {"not named in --split"}
    assert set(dataset.slices["subject"]) == {"sub-01", "sub-02"}


def test_two_masks_for_one_stack_are_not_chosen_between(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw")
    save(source / "derivatives/other/sub-01/anat/sub-01_run-1_desc-brain_mask.nii.gz", brain())
    rows, fault = check(source, 0.2)
    assert rows[0]["status"] == "excluded"
    assert "several brain masks" in rows[0]["reason"]
    assert fault == ""


def test_check_fails_past_the_share(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw", subjects=1)
    (source / "derivatives/manual/sub-01/anat/sub-01_run-2_desc-brain_mask.nii.gz").unlink()
    rows, fault = check(source, 0.2)
    assert [row["status"] for row in rows] == ["ok", "excluded"]
    assert "1 of 2" in fault


def test_no_such_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        import_dataset(tmp_path / "none", tmp_path / "set", ImportOptions())


@real_data
def test_real_stacks(tmp_path: Path) -> None:
    options = ImportOptions(
        split=("run-1,run-3=train", "run-2,run-4=normal"), split_by="stack", name="mialsrtk"
    )
    dataset = import_dataset(REAL, tmp_path / "set", options)
    assert dataset.meta.sets["train"].slices == 44
    assert dataset.meta.sets["normal"].slices_with_brain == 37
    assert open_dataset(tmp_path / "set", verify=True).images("sub-01_run-1").shape == (
        22,
        320,
        320,
    )
    rows, fault = check(REAL, 0.0)
    assert [row["status"] for row in rows] == ["ok"] * 4
    assert fault == ""
