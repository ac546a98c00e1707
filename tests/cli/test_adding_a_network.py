"""`docs/adding-a-network.md`, followed to the letter, in a copy of the tree."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from tests.conftest import ROOT

GUIDE = ROOT / "docs" / "adding-a-network.md"
IGNORED = shutil.ignore_patterns("__pycache__")


def commands() -> list[str]:
    """What the guide tells its reader to type."""
    blocks = re.findall(r"```console\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    return [line.removeprefix("$ ") for block in blocks for line in block.splitlines()]


class Reader:
    """Someone who types commands into a shell, in a folder with a copy of the tree."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site"
        self.tree = folder / "tree"
        for wing in ("harness", "architectures", "backends"):
            shutil.copytree(ROOT / wing, self.tree / wing, ignore=IGNORED)
        self.environment = dict(os.environ) | {
            "PYTHONPATH": os.pathsep.join([str(self.tree), str(self.site)]),
            "PATH": os.pathsep.join([str(folder / "bin"), os.environ["PATH"]]),
            "PIP_TARGET": str(self.site),
            "PIP_NO_INDEX": "1",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "COLUMNS": "200",
        }
        self._program("fetalbench", "harness.cli")
        self._program("pip", "pip")

    def _program(self, name: str, module: str) -> None:
        path = self.folder / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f'#!/bin/sh\nexec {sys.executable} -m {module} "$@"\n')
        path.chmod(0o755)

    def types(self, line: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["sh", "-c", line],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory, disc_data: Dataset) -> Reader:
    """The reader, after all commands of the guide went well."""
    folder = tmp_path_factory.mktemp("guide")
    shutil.copytree(disc_data.folder, folder / "data" / "tiny")
    reader = Reader(folder)
    for line in commands():
        done = reader.types(line)
        assert done.returncode == 0, f"{line}\n{done.stdout}\n{done.stderr}"
    return reader


def test_the_guide_tells_what_to_type() -> None:
    words = " ".join(commands())
    for command in ("new", "check", "list", "run", "report"):
        assert f"fetalbench {command}" in words


def test_a_network_in_the_tree_and_one_outside_are_listed(reader: Reader) -> None:
    rows = json.loads(reader.types("fetalbench list --json").stdout)
    for name in ("tiny_net", "other_net"):
        own = {row["backend"]: row["status"] for row in rows if row["network"] == name}
        assert own == {"torch": "ready", "keras": "ready", "flax": "ready"}


def test_without_its_file_a_network_is_not_implemented(reader: Reader) -> None:
    path = reader.tree / "architectures/tiny_net/flax_net.py"
    text = path.read_text(encoding="utf-8")
    path.unlink()
    try:
        rows = json.loads(reader.types("fetalbench list --json").stdout)
        asked = reader.types("fetalbench cost --networks tiny_net --backends flax")
    finally:
        path.write_text(text, encoding="utf-8")
    (row,) = [r for r in rows if (r["network"], r["backend"]) == ("tiny_net", "flax")]
    assert row["status"] == "not implemented"
    assert asked.returncode == 2
    assert "none of tiny_net is implemented for flax" in asked.stderr


def test_the_page_has_the_row_of_the_plugin(reader: Reader) -> None:
    page = (reader.folder / "reports" / "index.html").read_text(encoding="utf-8")
    assert "OtherNet" in page


def test_check_names_what_is_wrong(reader: Reader) -> None:
    path = reader.tree / "architectures/tiny_net/torch_net.py"
    text = path.read_text(encoding="utf-8")
    # A layer that nothing is connected to, and logits at half the size.
    wrong = text.replace("self.upsample(self.middle(self.stem(input)))", "self.stem(input)")
    assert wrong != text
    path.write_text(wrong, encoding="utf-8")
    try:
        done = reader.types("fetalbench check tiny_net --backends torch --json")
    finally:
        path.write_text(text, encoding="utf-8")
    assert done.returncode == 1, done.stderr
    failed = {
        row["what"]: row["detail"] for row in json.loads(done.stdout) if row["verdict"] == "failed"
    }
    assert "(1, 32, 32, 2)" in failed["shapes of the logits"]
    assert "card" not in failed


def test_check_names_a_weight_without_gradient(reader: Reader) -> None:
    path = reader.tree / "architectures/tiny_net/torch_net.py"
    text = path.read_text(encoding="utf-8")
    path.write_text(
        text.replace("self.middle(self.stem(input))", "self.stem(input)"), encoding="utf-8"
    )
    try:
        done = reader.types("fetalbench check tiny_net --backends torch --json")
    finally:
        path.write_text(text, encoding="utf-8")
    assert done.returncode == 1, done.stderr
    failed = {
        row["what"]: row["detail"] for row in json.loads(done.stdout) if row["verdict"] == "failed"
    }
    assert set(failed) == {"gradients, falling loss"}
    assert "'middle.conv.kernel' has no gradient" in failed["gradients, falling loss"]
