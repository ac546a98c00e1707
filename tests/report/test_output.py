"""What a report writes into a folder, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import RecordError
from harness.leaderboard.output import MANIFEST, differences, with_manifest, write

FILES = with_manifest({"index.html": b"<html>", "figures/a/dice.svg": b"<svg/>"})


def test_only_what_a_report_wrote_is_deleted(tmp_path: Path) -> None:
    mine = tmp_path / "figures" / "thesis.v2.svg"
    mine.parent.mkdir()
    mine.write_text("mine", encoding="utf-8")
    write(with_manifest({**FILES, "figures/a/dice.pdf": b"%PDF"}), tmp_path)
    assert (tmp_path / "figures/a/dice.pdf").exists()
    write(FILES, tmp_path)
    assert not (tmp_path / "figures/a/dice.pdf").exists()
    assert mine.read_text(encoding="utf-8") == "mine"
    write(with_manifest({"index.html": b""}), tmp_path)
    assert not (tmp_path / "figures" / "a").exists(), "empty folders go as well"


def test_a_forged_manifest_deletes_nothing_outside(tmp_path: Path) -> None:
    out, letter = tmp_path / "out", tmp_path / "letter.txt"
    out.mkdir()
    letter.write_text("mine", encoding="utf-8")
    (out / "link").symlink_to(tmp_path)
    forged = with_manifest({"../letter.txt": b"", str(letter): b"", "link/letter.txt": b""})
    (out / MANIFEST).write_bytes(forged[MANIFEST])
    write(FILES, out)
    assert letter.exists()
    assert (out / "index.html").exists()


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(RecordError, match="outside"):
        write({"a.txt": b"", "../b.txt": b""}, out)
    (out / "figures").symlink_to(tmp_path)
    with pytest.raises(RecordError, match="outside"):
        write({"figures/c.svg": b""}, out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


def test_what_differs_is_missing_or_is_left_over_is_named(tmp_path: Path) -> None:
    write(with_manifest({**FILES, "figures/gone/old.svg": b"<svg/>"}), tmp_path)
    (tmp_path / "mine.txt").write_text("mine", encoding="utf-8")
    assert differences(FILES, tmp_path) == [MANIFEST, "figures/gone/old.svg"]
    write(FILES, tmp_path)
    assert differences(FILES, tmp_path) == []
    (tmp_path / "index.html").write_bytes(b"<html> ")
    (tmp_path / "figures/a/dice.svg").unlink()
    assert differences(FILES, tmp_path) == ["index.html", "figures/a/dice.svg"]
    with pytest.raises(RecordError, match="no such folder"):
        differences(FILES, tmp_path / "nowhere")
