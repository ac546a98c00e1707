"""`fetalbench data`: from files, or from nothing, to a data set, a run and a robustness curve."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT, Fetalbench
from tests.data.nifti_files import bids, save, voxels


@pytest.mark.slow  # from phantom to page: most of a minute
def test_a_swept_phantom_is_made_checked_run_and_reported(
    fetalbench: Fetalbench, tmp_path: Path
) -> None:
    sweep = ("--sweep", "motion=0,0.5,1", "--matrix", "16")
    made = fetalbench("data", "phantom", "--out", "sweep", *sweep)
    assert made.returncode == 0, made.stderr
    assert "challenging: 216 slices" in made.stdout
    checked = fetalbench("data", "check", "sweep", "--json")
    assert checked.returncode == 0, checked.stderr
    assert {row["status"] for row in json.loads(checked.stdout)} == {"ok"}
    run = fetalbench("run", "--data", "sweep", "--protocol", "smoke", "--networks", "threshold")
    assert run.returncode == 0, run.stderr
    report = fetalbench("report")
    assert report.returncode == 0, report.stderr
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    assert "Brain Dice against the strength of motion" in page
    assert "The same 12 subjects at each strength" in page


def test_raw_stacks_are_checked_imported_drawn_and_refused_with_their_exit_codes(
    fetalbench: Fetalbench, tmp_path: Path
) -> None:
    source = bids(tmp_path / "raw", subjects=2, runs=1)
    assert fetalbench("data", "check", source).returncode == 0
    words = ("data", "import", source, "--out", "own", "--split", "sub-01=train")
    imported = fetalbench(*words, "--split", "sub-02=normal")
    assert imported.returncode == 0, imported.stderr
    assert "normal: 4 slices (3 with brain)" in imported.stdout
    shown = fetalbench("data", "show", "own", "--out", "sheet.png", "--slices", "2")
    assert shown.returncode == 0, shown.stderr
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")

    (source / "derivatives/manual/sub-02/anat/sub-02_run-1_desc-brain_mask.nii.gz").unlink()
    checked = fetalbench("data", "check", source)
    assert checked.returncode == 3
    assert "has no brain mask" in checked.stdout
    assert "1 of 2 stacks cannot be used" in checked.stderr
    refused = fetalbench(*words, "--split", "sub-02=normal", "--force")
    assert refused.returncode == 3
    assert "Traceback" not in refused.stderr
    sweep = fetalbench("data", "phantom", "--out", "sweep", "--sweep", "motion=0,1")
    assert sweep.returncode == 2
    assert "3 different strengths at least" in sweep.stderr


def test_a_run_that_could_not_be_scored_is_refused_before_training(
    fetalbench: Fetalbench, tmp_path: Path
) -> None:
    source = bids(tmp_path / "raw", subjects=2, runs=1)
    made = fetalbench("data", "import", source, "--out", "own", "--split", "*=train")
    assert made.returncode == 0, made.stderr
    for words in (("plan",), ("run", "--networks", "threshold")):
        refused = fetalbench(*words, "--data", "own", "--protocol", "smoke")
        assert refused.returncode == 3
        assert "--split NAME=normal" in refused.stderr
    assert not (tmp_path / "results").exists()


def test_a_brain_outside_the_window_is_said_and_refused(
    fetalbench: Fetalbench, tmp_path: Path
) -> None:
    for number, name in enumerate(("a", "b")):
        mask = np.zeros((96, 80, 4), np.uint8)
        # A few rows of it lie beside the middle 64.
        mask[13 + 27 * number : 50, 30:50, 1:] = 1
        save(tmp_path / f"raw/{name}.nii.gz", voxels(number, mask.shape))
        save(tmp_path / f"raw/{name}_mask.nii.gz", mask)
    checked = fetalbench("data", "check", "raw", "--protocol", "smoke", "--json")
    shares = {row["stack"]: row["outside_window_percent"] for row in json.loads(checked.stdout)}
    assert shares == {"a": 8.11, "b": 0.0}
    assert checked.returncode == 3
    made = fetalbench("data", "import", "raw", "--out", "own", "--split-ratio", "0.5/0.5")
    assert made.returncode == 0, made.stderr
    for words in (("plan",), ("run", "--networks", "threshold")):
        refused = fetalbench(*words, "--data", "own", "--protocol", "smoke")
        assert refused.returncode == 3
        assert "a: 8.1% of the brain lies outside the 64×64 window" in refused.stderr
    smoke = (ROOT / "harness/protocols/smoke.toml").read_text(encoding="utf-8")
    loose = smoke + "\n[evaluation]\nlargest_outside_share = 0.1\n"
    (tmp_path / "loose.toml").write_text(loose, encoding="utf-8")
    planned = fetalbench("plan", "--data", "own", "--protocol", "loose.toml", "--json")
    assert planned.returncode == 0, planned.stderr
    assert "a: 8.1% of the brain" in planned.stderr
    assert json.loads(planned.stdout)
    run = fetalbench("run", "--data", "own", "--protocol", "small_data", "--networks", "threshold")
    assert run.returncode == 0, run.stderr
