"""Stacks under the names that they have in the wild; what is not taken is listed."""

from __future__ import annotations

import json
import shutil
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from harness.data.catalogue import open_dataset
from harness.data.importing import ImportOptions, import_dataset
from harness.data.naming import file_name, original, short_name
from harness.data.readers import find_cases
from harness.data.readers.ages import weeks
from harness.errors import DataError
from tests.data.nifti_files import bids, brain, check, patch, save, voxels


def statuses(source: Path) -> dict[str, str]:
    return {row["stack"]: row["status"] for row in check(source, 1.0)[0]}


@pytest.mark.parametrize(
    "tail",
    [
        "desc-brain_mask",
        "space-orig_desc-brain_mask",
        "label-brain_mask",
        "label-brain_desc-manual_mask",
        "desc-manual_label-brain_res-1_space-T2w_mask",
        "T2w_desc-brain_mask",
        "mask",
    ],
)
@pytest.mark.parametrize(
    "place", ["derivatives/manual", "derivatives/a/b", "../derivatives/x", "."]
)
def test_masks_by_their_entities_wherever_they_lie(tmp_path: Path, tail: str, place: str) -> None:
    source = tmp_path / "study/rawdata"
    save(source / "sub-01/anat/sub-01_acq-haste_run-1_T2w.nii.gz", voxels())
    folder = source / place / "sub-01/anat"
    # The entities' order is not the image's, and 01 is the same run as 1.
    save(folder / f"sub-01_run-01_acq-haste_{tail}.nii.gz", brain())
    assert statuses(source) == {"sub-01_acq-haste_run-1": "ok"}


def test_masks_of_others_are_not_taken_and_said_so(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw", subjects=1, runs=1)
    folder = source / "derivatives/manual/sub-01/anat"
    save(folder / "sub-01_run-1_space-MNI152_desc-brain_mask.nii.gz", brain())
    save(folder / "sub-01_run-1_label-lesion_mask.nii.gz", brain())
    save(folder / "sub-01_run-7_desc-brain_mask.nii.gz", brain())
    rows = {row["stack"]: row for row in check(source)[0]}
    assert rows["sub-01_run-1"]["status"] == "ok"
    reasons = {Path(name).name.split("_", 1)[1]: row["reason"] for name, row in rows.items()}
    assert "another mask" in reasons["run-1_space-MNI152_desc-brain_mask.nii.gz"]
    assert "lesion" in reasons["run-1_label-lesion_mask.nii.gz"]
    assert "no T2w image" in reasons["run-7_desc-brain_mask.nii.gz"]


def test_what_looks_like_an_image_and_is_not_taken_is_listed_and_is_no_fault(
    tmp_path: Path,
) -> None:
    source = bids(tmp_path / "raw", subjects=2, runs=1)
    save(source / "sub-01/anat/sub-01_run-1_part-phase_T2w.nii.gz", voxels(50))
    save(source / "sub-01/func/sub-01_task-rest_bold.nii.gz", voxels(51))
    save(source / "derivatives/svr/sub-01/anat/sub-01_rec-svr_T2w.nii.gz", voxels(52))
    (source / "sub-02/anat/sub-02_run-9_T2w.nrrd").write_bytes(b"NRRD0004")
    (source / ".git").mkdir()
    save(source / ".git/sub-01_T2w.nii.gz", voxels(53))
    rows, fault = check(source, 0.0)
    assert fault == ""
    reasons = {Path(row["stack"]).name: row["reason"] for row in rows if row["status"] != "ok"}
    assert "part-phase" in reasons["sub-01_run-1_part-phase_T2w.nii.gz"]
    assert "only T2w" in reasons["sub-01_task-rest_bold.nii.gz"]
    assert "derivatives" in reasons["sub-01_rec-svr_T2w.nii.gz"]
    assert "convert it" in reasons["sub-02_run-9_T2w.nrrd"]
    assert len(reasons) == 4
    dataset = import_dataset(
        source, tmp_path / "set", ImportOptions(split=("sub-01=train", "sub-02=normal"))
    )
    assert len(dataset.meta.excluded) == 4


@pytest.mark.parametrize("ending", [".NII.GZ", ".Nii", ".nii.Gz"])
def test_endings_in_any_case(tmp_path: Path, ending: str) -> None:
    lower = ending.lower()
    for what, data in (
        ("T2", voxels()),
        ("T2_Mask", brain()),
        ("t3", voxels(2)),
        ("t3_mask", brain()),
    ):
        path = save(tmp_path / f"raw/anna/{what}{lower}", data)
        path.rename(path.with_name(f"{what}{ending}"))
    assert statuses(tmp_path / "raw") == {"anna_T2": "ok", "anna_t3": "ok"}
    source = bids(tmp_path / "bids", subjects=1, runs=1)
    for path in list(source.rglob("*.nii.gz")):
        renamed = save(path, voxels() if "T2w" in path.name else brain())
        renamed.rename(path.with_name(path.name.replace(".nii.gz", ".NII.GZ")))
    assert statuses(source) == {"sub-01_run-1": "ok"}


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ("annex link", "git-annex link.*fetch it"),
        ("annex pointer", "git-annex pointer.*fetch it"),
        ("LFS pointer", "Git LFS pointer.*fetch it"),
        ("link", "link to a file that is not there; fetch"),
    ],
)
@pytest.mark.parametrize("which", ["image", "mask"])
def test_what_was_not_fetched_is_named_as_such(
    tmp_path: Path, how: str, says: str, which: str
) -> None:
    source = bids(tmp_path / "raw", subjects=1, runs=1)
    paths = {
        "image": source / "sub-01/anat/sub-01_run-1_T2w.nii.gz",
        "mask": source / "derivatives/manual/sub-01/anat/sub-01_run-1_desc-brain_mask.nii.gz",
    }
    path, key = paths[which], "SHA256E-s1048576--abc.nii.gz"
    path.unlink()
    if how == "annex link":
        path.symlink_to(f"../../.git/annex/objects/xx/yy/{key}/{key}")
    elif how == "link":
        path.symlink_to("elsewhere.nii.gz")
    elif how == "annex pointer":
        path.write_text(f"/annex/objects/{key}\n")
    else:
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:cd\nsize 9\n")
    rows, _ = check(source)
    with pytest.raises(DataError, match=says):
        raise DataError(rows[0]["reason"])


def test_masks_and_images_without_the_other_are_listed(tmp_path: Path) -> None:
    save(tmp_path / "raw/a.nii.gz", voxels())
    save(tmp_path / "raw/b_mask.nii.gz", brain())
    rows = {row["stack"]: row for row in check(tmp_path / "raw", 1.0)[0]}
    assert rows["a"]["status"] == "excluded"
    assert "no image belongs" in rows["b_mask.nii.gz"]["reason"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp1252", "utf-16"])
def test_tables_as_spreadsheets_write_them(tmp_path: Path, delimiter: str, encoding: str) -> None:
    lines = [["Image", "MASK", "Subject", "Set", "Gestational_Age_Weeks"]]
    for name, set_name in (("Müller", "Train"), ("Möller", "Normal")):
        image = save(tmp_path / f"data/{name}/t2.nii.gz", voxels(len(lines)))
        mask = save(tmp_path / f"data/{name}/m.nii.gz", brain())
        given = str(image) if name == "Müller" else f"../data/{name}/t2.nii.gz"
        lines.append([given, f"../data/{name}/{mask.name}", name, set_name, "24+3"])
    (tmp_path / "tables").mkdir()
    table = tmp_path / "tables/pairs.csv"
    table.write_text("\n".join(map(delimiter.join, lines)), encoding=encoding)
    dataset = import_dataset(table, tmp_path / "set", ImportOptions())
    assert set(dataset.slices["subject"]) == {"Müller", "Möller"}
    assert set(dataset.slices["source"]) == {"Müller/t2.nii.gz", "Möller/t2.nii.gz"}
    assert dataset.meta.gestational_age_weeks["Müller_t2"] == pytest.approx(24 + 3 / 7)
    assert str(tmp_path) not in dataset.meta.model_dump_json()
    assert str(tmp_path) not in dataset.slices.to_json()


def test_a_fault_outside_the_tables_folder_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    lines = ["image,mask,subject,set"]
    for number in range(6):
        image = save(tmp_path / f"data/i{number}.nii.gz", voxels(number))
        mask = save(tmp_path / f"data/m{number}.nii.gz", brain())
        lines.append(f"{image},{mask},s{number},train")
    patch(tmp_path / "data/i0.nii.gz", "quatern_b", 9.0)
    patch(tmp_path / "data/i0.nii.gz", "sform_code", 0)
    (tmp_path / "data/m1.nii.gz").unlink()
    (tmp_path / "t").mkdir()
    (tmp_path / "t/pairs.csv").write_text("\n".join(lines))
    options = ImportOptions(largest_excluded_share=0.5)
    dataset = import_dataset(tmp_path / "t/pairs.csv", tmp_path / "set", options)
    assert len(dataset.meta.excluded) == 2
    assert str(tmp_path) not in dataset.meta.model_dump_json()


def test_decathlon_without_channels(tmp_path: Path) -> None:
    raw = tmp_path / "Task01_Brain"
    # A name that ends in four digits is not a channel where the mask has them, too.
    for part, name in (("Tr", "fetus_2021"), ("Tr", "fetus2"), ("Ts", "fetus3")):
        save(raw / f"images{part}/{name}.nii.gz", voxels(len(name) + ord(name[-1])))
        save(raw / f"labels{part}/{name}.nii.gz", brain())
    (raw / "imagesTr/._fetus2.nii.gz").write_bytes(b"Mac OS X")
    (raw / "dataset.json").write_text(json.dumps({"labels": {"0": "background", "1": "brain"}}))
    assert statuses(raw) == {"fetus2": "ok", "fetus_2021": "ok", "fetus3": "ok"}


def test_further_channels_are_left_out(tmp_path: Path) -> None:
    for channel in range(2):
        save(tmp_path / f"raw/imagesTr/a_000{channel}.nii.gz", voxels(channel))
    save(tmp_path / "raw/labelsTr/a.nii.gz", brain())
    assert statuses(tmp_path / "raw") == {"a": "ok", "imagesTr/a_0001.nii.gz": "left out"}


def test_names_stay_what_they_are(tmp_path: Path) -> None:
    names = ["Müller", "Möller", "Østergård", "weeks 24 (b)", "胎児", "a+b"]
    for seed, name in enumerate(names):
        folder = unicodedata.normalize("NFD", name) if seed == 0 else name
        save(tmp_path / f"raw/{folder}/t2.nii.gz", voxels(seed))
        save(tmp_path / f"raw/{folder}/t2_mask.nii.gz", brain())
    split = [f"{name}=train" for name in names[1:]] + ["Müller=normal"]
    dataset = import_dataset(tmp_path / "raw", tmp_path / "set", ImportOptions(split=split))
    assert set(dataset.slices["subject"]) == set(names)
    opened = open_dataset(tmp_path / "set", verify=True)
    assert np.array_equal(
        opened.images("Möller_t2"), voxels(1).transpose(2, 1, 0).astype(np.float32)
    )
    assert all(path.name.isascii() for path in (tmp_path / "set/stacks").iterdir())


def test_names_that_come_to_the_same_are_an_error(tmp_path: Path) -> None:
    for folder, name in (("a", "b_c"), ("a_b", "c")):
        save(tmp_path / f"raw/{folder}/{name}.nii.gz", voxels(len(name)))
        save(tmp_path / f"raw/{folder}/{name}_mask.nii.gz", brain())
    with pytest.raises(DataError, match="are both the stack 'a_b_c'"):
        find_cases(tmp_path / "raw", "nifti")


def test_file_and_short_names_tell_names_apart() -> None:
    names = ["Müller", "Möller", "M-ller", "m-ller", "M ller", "../x", "x" * 128, "ü" * 128, "."]
    assert len({file_name(name) for name in names}) == len(names)
    assert all("/" not in file_name(name) and len(file_name(name)) < 200 for name in names)
    assert len({short_name(name) for name in ("Müller", "Möller", "M/ller")}) == 3
    assert short_name("My study") == "my-study"
    assert original(unicodedata.normalize("NFD", "Müller")) == "Müller"
    assert original("M\udcfcller") == "Müller"


def test_data_sets_of_two_folders_keep_two_names(tmp_path: Path) -> None:
    found = set()
    for name in ("Müller", "Möller"):
        bids(tmp_path / name, subjects=2, runs=1)
        options = ImportOptions(split=("sub-01=train", "sub-02=normal"))
        dataset = import_dataset(tmp_path / name, tmp_path / f"set-{len(found)}", options)
        found.add(dataset.meta.name)
        assert name in dataset.meta.title
    assert len(found) == 2


def test_gestational_age_from_tables_and_sidecars_is_in_the_description(tmp_path: Path) -> None:
    source = bids(tmp_path / "raw", subjects=3, runs=1)
    (source / "participants.tsv").write_text(
        "participant_id\tGestational age\n01\t24,5\nsub-02\t31w2d\n"
    )
    sidecar = source / "sub-03/anat/sub-03_run-1_T2w.json"
    sidecar.write_text('{"GestationalAge": 28.0, "EchoTime": 0.1}')
    options = ImportOptions(split=("sub-01,sub-02=train", "sub-03=normal"))
    dataset = import_dataset(source, tmp_path / "set", options)
    assert dataset.meta.gestational_age_weeks == {
        "sub-01_run-1": 24.5,
        "sub-02_run-1": pytest.approx(31 + 2 / 7),
        "sub-03_run-1": 28.0,
    }
    shutil.rmtree(tmp_path / "set")
    assert weeks("24+9") is None


def test_two_masks_of_one_name_are_not_chosen_between(tmp_path: Path) -> None:
    save(tmp_path / "raw/a.nii.gz", voxels())
    for ending in (".nii", ".nii.gz"):
        save(tmp_path / f"raw/a_mask{ending}", brain())
    assert "several brain masks" in check(tmp_path / "raw", 1.0)[0][0]["reason"]
