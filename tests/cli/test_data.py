"""`fetalbench data`: from files, or from nothing, to a data set, a run and a robustness curve."""

from __future__ import annotations

import json
from pathlib import Path

from tests.conftest import Fetalbench
from tests.data.nifti_files import bids


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
