"""Sentences of a record name no user and no machine."""

from __future__ import annotations

import sysconfig
from pathlib import Path

import pytest

from harness.records.provenance import without_paths

HOME = Path("/home/alice")
ROOTS = {"results": HOME / "work/results", "data": Path("/data/alice/discs")}


@pytest.fixture(autouse=True)
def _home(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(HOME))


@pytest.mark.parametrize(
    ("sentence", "shown"),
    [
        (f"{HOME}/work/results/.work/a.st: full", "results/.work/a.st: full"),
        ("'/data/alice/discs' is damaged", "'data' is damaged"),
        (f"see {HOME}/notes.txt", "see ~/notes.txt"),
        # Neither a longer name nor a part of another path is a root.
        ("/data/alice/discs-2/x.npy", "…/x.npy"),
        ("/mnt/home/alice/x.npy", "~/x.npy"),
        (
            "cannot open /net/box7/bob/w.safetensors (denied)",
            "cannot open …/w.safetensors (denied)",
        ),
        (
            f'File "{Path(__file__).parents[2]}/harness/worker/cells.py"',
            'File "fetalbench/harness/worker/cells.py"',
        ),
        (f"{sysconfig.get_path('purelib')}/torch/nn.py:3", "site-packages/torch/nn.py:3"),
        ("took 3 images/s, 1/2 of n/a", "took 3 images/s, 1/2 of n/a"),
        ("see https://example.org/a/b for more", "see https://example.org/a/b for more"),
        ("results/.work/log.txt", "results/.work/log.txt"),
        ("file:/srv/bob/x and =/home/bob/y", "file:…/x and =~/y"),
        ("", ""),
    ],
)
def test_absolute_paths_become_short_names(sentence: str, shown: str) -> None:
    assert without_paths(sentence, ROOTS) == shown


def test_relative_roots_are_known_by_their_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    text = f"{tmp_path}/results/a: no space"
    assert without_paths(text, {"results": Path("results")}) == "results/a: no space"
    assert without_paths(without_paths(text)) == without_paths(text)
    assert str(tmp_path) not in without_paths(text)
