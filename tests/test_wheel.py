"""The wheel: all that the commands need is in it, and nothing of the source tree is asked for."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

WINGS = ("architectures", "backends", "harness")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed in it, made of a copy: a build leaves files in its tree."""
    folder = tmp_path_factory.mktemp("wheel")
    tree = folder / "tree"
    tree.mkdir()
    for name in (*WINGS, "pyproject.toml", "README.md", "LICENSE"):
        ignore = shutil.ignore_patterns("__pycache__")
        copy = shutil.copy if (ROOT / name).is_file() else None
        if copy:
            copy(ROOT / name, tree / name)
        else:
            shutil.copytree(ROOT / name, tree / name, ignore=ignore)
    words = [sys.executable, "-m", "pip", "--quiet"]
    apart = ["--no-deps", "--no-index"]
    wheels = ["--no-build-isolation", "--wheel-dir", str(folder)]
    subprocess.run([*words, "wheel", *apart, *wheels, str(tree)], check=True, capture_output=True)
    (wheel,) = folder.glob("fetalbench-*.whl")
    target = ["--target", str(folder / "site")]
    subprocess.run([*words, "install", *apart, *target, str(wheel)], check=True)
    shutil.rmtree(tree)
    return folder / "site"


@pytest.mark.slow  # builds the wheel
@pytest.mark.parametrize(
    "words",
    [
        ("--help",),
        ("list",),
        ("new", "my_net", "--folder", "my_net"),
        ("report", "--results", str(ROOT / "results"), "--out", "reports", "--no-figures"),
        ("plan", "--protocol", "smoke", "--data", "data"),
    ],
    ids=lambda words: words[0],
)
def test_commands_work_from_the_wheel(site: Path, tmp_path: Path, words: tuple[str, ...]) -> None:
    environment = dict(os.environ) | {"PYTHONPATH": str(site)}

    def call(*command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness.cli", *command],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    if words[0] == "plan":
        assert call("data", "phantom", "--out", "data").returncode == 0
    done = call(*words)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    if words[0] == "report":
        assert (tmp_path / "reports" / "index.html").stat().st_size > 100_000
    if words[0] == "new":
        assert (tmp_path / "my_net" / "fetalbench_my_net" / "card.py").is_file()
    where = subprocess.run(
        [sys.executable, "-c", "import harness; print(harness.__file__)"],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert Path(where.strip()).is_relative_to(site)
