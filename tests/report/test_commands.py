"""`fetalbench report` and `fetalbench publish` as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner, Result

from harness.cli.publish import publish
from harness.cli.report import report
from harness.errors import UsageError
from tests.report import factory
from tests.report.factory import Cell

app = typer.Typer()
app.command("report")(report)
app.command("publish")(publish)


def call(*words: str | Path) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_check_agrees_and_then_finds_the_difference(one_cell: Path) -> None:
    out = one_cell.parent / "reports"
    words = ("report", "--results", one_cell, "--out", out, "--no-figures")
    assert call(*words).exit_code == 0
    assert call(*words, "--check").exit_code == 0
    page = out / "index.html"
    page.write_text(page.read_text(encoding="utf-8") + " ", encoding="utf-8")
    found = call(*words, "--check")
    assert found.exit_code == 1
    assert "not what the records" in found.stderr
    assert str(page) in found.stderr


def test_figures_are_written_as_pdf_or_left_out_on_request(one_cell: Path) -> None:
    out = one_cell.parent / "reports"
    words = ("report", "--results", one_cell, "--out", out)
    assert call(*words, "--pdf").exit_code == 0
    pdfs = list(out.rglob("*.pdf"))
    assert len(pdfs) == len(list(out.rglob("*.svg"))) > 3
    assert all(path.read_bytes().startswith(b"%PDF-") for path in pdfs)
    assert call(*words, "--no-figures").exit_code == 0
    assert not [*out.rglob("*.svg"), *out.rglob("*.pdf")]


@pytest.mark.parametrize("out", ["reports", "a/b c/reports", "results/page"])
def test_links_lead_to_the_records_from_any_folder(one_cell: Path, out: str) -> None:
    folder = one_cell.parent / out
    words = ("report", "--results", one_cell, "--out", folder, "--no-figures")
    assert call(*words).exit_code == 0
    (record,) = one_cell.rglob("record.json")
    text = (folder / "index.html").read_text(encoding="utf-8")
    link = next(part for part in text.split('href="') if "record.json" in part).split('"')[0]
    assert (folder / link.replace("%20", " ")).resolve() == record.resolve()
    assert call(*words, "--check").exit_code == 0


def test_one_machine_alone(tmp_path: Path) -> None:
    cells = [Cell(network="enet"), Cell(network="unet", machine="other")]
    results = factory.write_results(tmp_path / "results", cells)
    out = tmp_path / "out"
    words = ("report", "--results", results, "--out", out, "--no-figures")
    assert call(*words, "--machine", "other").exit_code == 0
    assert "ENet" not in (out / "leaderboard.csv").read_text(encoding="utf-8")
    wrong = call(*words, "--machine", "othr")
    assert isinstance(wrong.exception, UsageError)
    assert "did you mean 'other'" in str(wrong.exception)


def test_publish_makes_a_complete_folder_and_drops_records_that_are_gone(tmp_path: Path) -> None:
    cells = [Cell(network="enet"), Cell(network="unet")]
    results = factory.write_results(tmp_path / "results", cells)
    out, address = tmp_path / "public", "https://example.org/board"
    words = ("publish", "--results", results, "--out", out)
    assert call(*words, "--url", address).exit_code == 0
    assert (out / ".nojekyll").exists()
    assert (out / "card.png").read_bytes().startswith(b"\x89PNG")
    text = (out / "index.html").read_text(encoding="utf-8")
    records = [path.relative_to(out).as_posix() for path in (out / "results").rglob("record.json")]
    assert len(records) == 2
    assert all(f'href="{record}"' in text for record in records)
    assert f'<meta property="og:image" content="{address}/card.png">' in text
    assert f'<meta property="og:url" content="{address}/">' in text
    (gone,) = results.glob("*/*/*/unet/*/*/record.json")
    gone.unlink()
    assert call(*words).exit_code == 0
    assert [path.parts[-4] for path in out.rglob("record.json")] == ["enet"]
    assert "og:image" not in (out / "index.html").read_text(encoding="utf-8")


def test_publish_leaves_foreign_folders_alone(one_cell: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    found = call("publish", "--results", one_cell, "--out", foreign)
    assert isinstance(found.exception, UsageError)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
    found = call("publish", "--results", one_cell, "--out", foreign / "thesis.txt")
    assert "is a file" in str(found.exception)


def test_an_address_without_a_host_is_refused(one_cell: Path, tmp_path: Path) -> None:
    found = call("publish", "--results", one_cell, "--out", tmp_path / "out", "--url", "board")
    assert isinstance(found.exception, UsageError)
