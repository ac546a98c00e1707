"""What a report writes, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from harness.leaderboard.manifest import MANIFEST, listing
from typer.testing import CliRunner

from harness.cli.publish import publish
from harness.cli.report import report
from harness.errors import RecordError, UsageError
from harness.leaderboard import page as leaderboard
from harness.leaderboard.publishing import refuse_foreign
from tests.report import factory
from tests.report.factory import Cell

app = typer.Typer()
app.command("report")(report)
app.command("publish")(publish)


def call(*words: str | Path):
    return CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture
def one_cell(tmp_path: Path) -> Path:
    return factory.write_results(tmp_path / "results", [Cell(network="enet")])


def test_only_what_a_report_wrote_is_deleted(one_cell: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    mine = out / "figures" / "thesis.v2.svg"
    mine.parent.mkdir(parents=True)
    mine.write_text("mine", encoding="utf-8")
    assert call("report", "--results", one_cell, "--out", out, "--pdf").exit_code == 0
    pdfs = list(out.rglob("*.pdf"))
    assert pdfs
    assert call("report", "--results", one_cell, "--out", out).exit_code == 0
    assert not any(path.exists() for path in pdfs)
    assert mine.read_text(encoding="utf-8") == "mine"


def test_a_forged_manifest_deletes_nothing_outside(one_cell: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    letter = tmp_path / "letter.txt"
    letter.write_text("mine", encoding="utf-8")
    (out / "link").symlink_to(tmp_path)
    (out / MANIFEST).write_bytes(listing(["../letter.txt", str(letter), "link/letter.txt"]))
    assert call("report", "--results", one_cell, "--out", out).exit_code == 0
    assert letter.exists()


def test_a_file_of_an_earlier_report_is_a_difference(one_cell: Path, tmp_path: Path) -> None:
    files = leaderboard.render(one_cell)
    old = {**files, "figures/gone/old.svg": b"<svg/>"}
    leaderboard.write({**old, MANIFEST: listing(old)}, tmp_path / "out")
    assert leaderboard.differences(files, tmp_path / "out") == [MANIFEST, "figures/gone/old.svg"]
    (tmp_path / "out" / "mine.txt").write_text("mine", encoding="utf-8")
    leaderboard.write(files, tmp_path / "out")
    assert leaderboard.differences(files, tmp_path / "out") == []


def test_plans_with_a_path_are_refused(tmp_path: Path) -> None:
    cells = [Cell(network="enet", plan="../../escape")]
    results = factory.write_results(tmp_path / "results", cells)
    with pytest.raises(RecordError, match=r"plan name '../../escape' is not allowed"):
        leaderboard.render(results)


def test_columns_with_a_path_are_refused(tmp_path: Path) -> None:
    cell = Cell(network="enet", swept=True, strength="strength_../../escape")
    results = factory.write_results(tmp_path / "results", [cell])
    with pytest.raises(RecordError, match="no safe file name"):
        leaderboard.render(results)


def test_nothing_is_written_outside_the_folder(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    with pytest.raises(RecordError, match="outside"):
        leaderboard.write({"a.txt": b"", "../b.txt": b""}, tmp_path / "out")
    (tmp_path / "out" / "figures").symlink_to(tmp_path)
    with pytest.raises(RecordError, match="outside"):
        leaderboard.write({"figures/c.svg": b""}, tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out"]


@pytest.mark.parametrize("out", ["reports", "a/b c/reports", "results/page"])
def test_links_lead_to_the_records_from_any_folder(one_cell: Path, out: str) -> None:
    folder = one_cell.parent / out
    assert call("report", "--results", one_cell, "--out", folder).exit_code == 0
    (record,) = one_cell.rglob("record.json")
    text = (folder / "index.html").read_text(encoding="utf-8")
    link = next(part for part in text.split('href="') if "record.json" in part).split('"')[0]
    assert (folder / link.replace("%20", " ")).resolve() == record.resolve()
    assert call("report", "--results", one_cell, "--out", folder, "--check").exit_code == 0


def test_publishing_drops_records_that_are_gone(tmp_path: Path) -> None:
    cells = [Cell(network="enet"), Cell(network="unet")]
    results = factory.write_results(tmp_path / "results", cells)
    out = tmp_path / "public"
    assert call("publish", "--results", results, "--out", out).exit_code == 0
    (gone,) = results.glob("*/*/*/unet/*/*/record.json")
    gone.unlink()
    assert call("publish", "--results", results, "--out", out).exit_code == 0
    assert [path.parts[-4] for path in out.rglob("record.json")] == ["enet"]


def test_many_records_are_said_in_brief(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cells = [Cell(network=n, machine=m) for m in ("a", "b") for n in ("enet", "unet")]
    results = factory.write_results(tmp_path / "results", cells)
    whole = leaderboard.render(results)
    monkeypatch.setattr(leaderboard, "MAX_FULL", 3)
    brief = leaderboard.render(results)
    assert len(brief["index.html"]) < 0.7 * len(whole["index.html"])
    assert brief["leaderboard.csv"] == whole["leaderboard.csv"]
    page = brief["index.html"].decode()
    assert page.count("record.json") == 4
    assert "--machine b" in page
    figures = {part.split('"')[0] for part in page.split('href="') if part.startswith("figures/")}
    assert figures
    assert figures <= brief.keys()


def test_publishing_into_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="is a file"):
        refuse_foreign(tmp_path / "out")


def test_a_published_page_names_its_card(one_cell: Path, tmp_path: Path) -> None:
    out = tmp_path / "public"
    address = "https://example.org/board"
    assert call("publish", "--results", one_cell, "--out", out, "--url", address).exit_code == 0
    page = (out / "index.html").read_text(encoding="utf-8")
    assert f'<meta property="og:image" content="{address}/card.png">' in page
    assert f'<meta property="og:url" content="{address}/">' in page
    wrong = call("publish", "--results", one_cell, "--out", out, "--url", "board")
    assert isinstance(wrong.exception, UsageError)
    assert call("publish", "--results", one_cell, "--out", out).exit_code == 0
    assert "og:image" not in (out / "index.html").read_text(encoding="utf-8")


def test_one_machine_alone(tmp_path: Path) -> None:
    cells = [Cell(network="enet"), Cell(network="unet", machine="other")]
    results = factory.write_results(tmp_path / "results", cells)
    out = tmp_path / "out"
    assert call("report", "--results", results, "--out", out, "--machine", "other").exit_code == 0
    assert "ENet" not in (out / "leaderboard.csv").read_text(encoding="utf-8")
    wrong = call("report", "--results", results, "--out", out, "--machine", "othr")
    assert isinstance(wrong.exception, UsageError)
    assert "did you mean 'other'" in str(wrong.exception)
