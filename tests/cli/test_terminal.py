"""Terminals that know few letters get few letters, and never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.data.nifti_files import brain, save, voxels


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
@pytest.mark.parametrize("words", [["data", "check", "raw"], ["--help"], ["list"], ["nonsense"]])
def test_no_terminal_ends_in_a_traceback(tmp_path: Path, encoding: str, words: list[str]) -> None:
    for name in ("Müller", "胎児"):
        save(tmp_path / f"raw/{name}/t2.nii.gz", voxels(len(name)))
        save(tmp_path / f"raw/{name}/t2_mask.nii.gz", brain() * 255)
    # A name that an old archive left in Latin-1.
    (tmp_path / "raw/胎児").rename(os.fsdecode(os.fsencode(tmp_path / "raw") + b"/M\xf6ller"))
    settings = {"PYTHONIOENCODING": encoding, "LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}
    run = subprocess.run(
        [sys.executable, "-X", "utf8=0", "-m", "harness.cli", *words],
        cwd=tmp_path,
        env=os.environ | settings | {"PYTHONPATH": str(ROOT), "PYTHONUTF8": "0"},
        capture_output=True,
        check=False,
        timeout=60,
    )
    assert b"Traceback" not in run.stderr, run.stderr.decode(errors="replace")
    assert run.returncode == (2 if words == ["nonsense"] else 0)
    if words[0] == "data":
        out = run.stdout.decode(encoding)
        names = ("Muller", "Moller") if encoding == "ascii" else ("Müller", "Möller")
        assert all(f"{name}_t2" in out for name in names), out
