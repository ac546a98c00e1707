"""Predicted masks go back into files on the source's own grid, in BIDS' form."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from harness.data.catalogue import Dataset
from harness.data.contact_sheet import write_sheet
from harness.data.derivatives import write_derivatives
from harness.data.importing import ImportOptions, import_dataset
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


def test_incomplete_predictions_are_refused(tmp_path: Path) -> None:
    dataset = imported(tmp_path)
    with pytest.raises(DataError, match="11 of 12 slices"):
        write_derivatives(dataset, perfect(dataset).iloc[1:], tmp_path / "out", network="Otsu")


def test_the_bids_validator_finds_no_error(tmp_path: Path) -> None:
    validator = Path(sys.executable).with_name("bids-validator-deno")
    dataset = imported(tmp_path)
    write_derivatives(dataset, perfect(dataset), tmp_path / "out", network="Otsu")
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
