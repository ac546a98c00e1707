"""`fetalbench new` refuses names that no package can have."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.scaffold import new_network, title


@pytest.mark.parametrize(
    "name", ["", "Net", "2net", "my-net", "my.net", "../net", "class", "a" * 65, "net\n", "ünet"]
)
def test_names_that_cannot_be_imported_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not allowed"):
        new_network(name, tmp_path / "package")
    assert not (tmp_path / "package").exists()


@pytest.mark.parametrize("name", ["unet", "rfbsnet", "template", "threshold"])
def test_names_that_are_taken_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="exists already"):
        new_network(name, tmp_path / "package")


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    files = new_network("tiny_net", tmp_path / "package")
    assert (tmp_path / "package/pyproject.toml") in files
    with pytest.raises(UsageError, match="exists already"):
        new_network("tiny_net", tmp_path / "package")


def test_no_word_of_the_template_is_left(tmp_path: Path) -> None:
    for path in new_network("tiny_net", tmp_path / "package"):
        assert "template" not in path.read_text(encoding="utf-8").lower()
    assert title("fast_net") == "FastNet"
