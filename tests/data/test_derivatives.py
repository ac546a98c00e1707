"""Predicted masks go back into files on the source's own grid, in BIDS' form."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from harness.data.catalogue import Dataset
from harness.data.contact_sheet import write_sheet
from harness.data.derivatives import bids_names, write_derivatives
from harness.data.importing import ImportOptions, import_dataset
from harness.data.phantom.generation import make_phantom
from harness.data.phantom.presets import PRESETS, SetSize, with_matrix
from harness.errors import DataError
from tests.data.nifti_files import AFFINE, bids, brain, save, voxels


def imported(tmp_path: Path) -> Dataset:
    source = bids(tmp_path / "raw", subjects=2, runs=1)
    upright = np.diag([4.0, 1.0, 1.5, 1.0])
    save(source / "sub-02/anat/sub-02_run-1_T2w.nii.gz", voxels(9), upright)
    save(
        source / "derivatives/manual/sub-02/anat/sub-02_run-1_desc-brain_mask.nii.gz",
        brain(),
        upright,
    )
    options = ImportOptions(split=("sub-01=train", "sub-02=normal"))
    return import_dataset(source, tmp_path / "set", options)


def perfect(dataset: Dataset) -> pd.DataFrame:
    rows = [
        {
            "stack": row["stack"],
            "slice": row["slice"],
            "height": row["height"],
            "width": row["width"],
            "mask": np.packbits(dataset.masks(row["stack"])[row["slice"]]).tobytes(),
        }
        for row in dataset.slices.to_dict("records")
    ]
    return pd.DataFrame(rows[::-1])


def test_masks_return_to_the_sources_own_grid(tmp_path: Path) -> None:
    dataset = imported(tmp_path)
    written = write_derivatives(dataset, perfect(dataset), tmp_path / "out", network="Otsu")
    names = [path.relative_to(tmp_path / "out").as_posix() for path in written]
    assert names == [
        "sub-01/anat/sub-01_run-1_desc-brain_mask.nii.gz",
        "sub-02/anat/sub-02_run-1_desc-brain_mask.nii.gz",
    ]
    for path, affine in zip(written, (AFFINE, np.diag([4.0, 1.0, 1.5, 1.0])), strict=True):
        image = nib.Nifti1Image.from_filename(path)
        assert image.get_data_dtype() == np.uint8
        assert np.array_equal(np.asarray(image.dataobj), brain())
        assert image.affine is not None
        assert np.allclose(image.affine, affine, atol=1e-5)
    sidecar = json.loads(written[0].with_name("sub-01_run-1_desc-brain_mask.json").read_text())
    assert sidecar["Type"] == "Brain"
    assert sidecar["RawSources"] == ["sub-01/anat/sub-01_run-1_T2w.nii.gz"]


def test_phantom_slices_closer_than_pixels_stay_slices(tmp_path: Path) -> None:
    preset = replace(
        with_matrix(PRESETS["tiny"], 16),
        sets={name: SetSize(subjects=1, stacks=1, slices=12) for name in ("train", "normal")},
    )
    dataset = make_phantom(tmp_path / "set", preset, processes=1)
    written = write_derivatives(dataset, perfect(dataset), tmp_path / "out", network="Otsu")
    for path, stack in zip(written, ("sub-001_run-1", "sub-002_run-1"), strict=True):
        image = nib.Nifti1Image.from_filename(path)
        spacing = np.linalg.norm(np.asarray(image.affine)[:3, :3], axis=0)
        assert spacing[2] < spacing[0]
        assert np.array_equal(np.asarray(image.dataobj), dataset.masks(stack).transpose(2, 1, 0))


def named(rows: list[tuple[str, str, str]]) -> dict[str, str]:
    return bids_names(pd.DataFrame(rows, columns=["stack", "subject", "session"]))


def test_names_that_bids_would_spell_alike_are_told_apart() -> None:
    rows = [("case_1_1", "case", ""), ("case_11", "case", ""), ("a_b", "a_b", ""), ("ab", "ab", "")]
    assert named(rows) == {
        "case_11": "sub-case_acq-11",
        "case_1_1": "sub-case_acq-11_run-2",
        "a_b": "sub-ab",
        "ab": "sub-abx2",
    }


def test_names_of_bids_are_kept_only_where_bids_allows_them() -> None:
    names = named(
        [
            ("sub-01_ses-a_run-1", "sub-01", ""),
            ("sub-01_ses-b_run-1", "sub-01", "ses-b"),
            ("sub-01_run-1", "sub-01", "ses-c"),
            ("sub-01_run-2_acq-x", "sub-01", ""),
            ("sub-01_run-one", "sub-01", ""),
            ("sub-01_void-0.5", "sub-01", ""),
        ]
    )
    assert names == {
        "sub-01_ses-a_run-1": "sub-01_ses-a_run-1",
        "sub-01_ses-b_run-1": "sub-01_ses-b_run-1",
        "sub-01_run-1": "sub-01_ses-c_acq-run1",
        "sub-01_run-2_acq-x": "sub-01_acq-run2acqx",
        "sub-01_run-one": "sub-01_acq-runone",
        "sub-01_void-0.5": "sub-01_acq-void05",
    }


def test_incomplete_predictions_are_refused(tmp_path: Path) -> None:
    dataset = imported(tmp_path)
    with pytest.raises(DataError, match="11 of 12 slices"):
        write_derivatives(dataset, perfect(dataset).iloc[1:], tmp_path / "out", network="Otsu")


def test_the_bids_validator_finds_no_error(tmp_path: Path) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    lines = ["image,mask,stack,subject,session,set"]
    save(tmp_path / "raw/mask.nii.gz", brain())
    for seed, names in enumerate(
        (
            "sub-01_run-1,sub-01,,train",
            "sub-02_ses-a_run-1,sub-02,,train",
            "sub-02_ses-b_run-1,sub-02,ses-b,train",
            "case_1_1,case_1,,train",
            "case_11,case_1,,train",
            "case-1,case-1,second visit,normal",
        )
    ):
        save(tmp_path / f"raw/{seed}.nii.gz", voxels(seed))
        lines.append(f"{seed}.nii.gz,mask.nii.gz,{names}")
    (tmp_path / "raw/pairs.csv").write_text("\n".join(lines))
    dataset = import_dataset(tmp_path / "raw/pairs.csv", tmp_path / "set", ImportOptions())
    written = write_derivatives(dataset, perfect(dataset), tmp_path / "out", network="Otsu")
    assert [path.relative_to(tmp_path / "out").as_posix() for path in written] == [
        "sub-case1/ses-secondvisit/anat/sub-case1_ses-secondvisit_desc-brain_mask.nii.gz",
        "sub-case1x2/anat/sub-case1x2_acq-case11_desc-brain_mask.nii.gz",
        "sub-case1x2/anat/sub-case1x2_acq-1_desc-brain_mask.nii.gz",
        "sub-01/anat/sub-01_run-1_desc-brain_mask.nii.gz",
        "sub-02/ses-a/anat/sub-02_ses-a_run-1_desc-brain_mask.nii.gz",
        "sub-02/ses-b/anat/sub-02_ses-b_run-1_desc-brain_mask.nii.gz",
    ]
    run = subprocess.run(
        [str(validator), "--json", str(tmp_path / "out")],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    issues = json.loads(run.stdout)["issues"]["issues"]
    assert [issue for issue in issues if issue["severity"] == "error"] == []


@pytest.mark.parametrize("ending", ["png", "html"])
def test_contact_sheet(tmp_path: Path, ending: str) -> None:
    out = tmp_path / f"sheet.{ending}"
    write_sheet(imported(tmp_path), out, slices=5, seed=0)
    content = out.read_bytes()
    if ending == "png":
        assert content.startswith(b"\x89PNG")
    else:
        assert content.count(b"data:image/png;base64,") == 2
        assert b"http://" not in content
        assert b"https://" not in content
