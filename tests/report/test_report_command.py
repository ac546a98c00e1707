"""`fetalbench report` and `fetalbench publish` as a user calls them."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from harness.cli.publish import publish
from harness.cli.report import report
from harness.errors import UsageError
from tests.report import factory

app = typer.Typer()
app.command("report")(report)
app.command("publish")(publish)


@pytest.fixture
def one_cell(tmp_path: Path) -> Path:
    return factory.write_results(tmp_path / "results", [factory.Cell(network="enet")])


def test_check_agrees_and_then_finds_the_difference(one_cell: Path) -> None:
    out = one_cell.parent / "reports"
    options = ["report", "--results", str(one_cell), "--out", str(out)]
    runner = CliRunner()
    assert runner.invoke(app, options).exit_code == 0
    assert runner.invoke(app, [*options, "--check"]).exit_code == 0
    page = out / "index.html"
    page.write_text(page.read_text(encoding="utf-8") + " ", encoding="utf-8")
    found = runner.invoke(app, [*options, "--check"])
    assert found.exit_code == 1
    assert "not what the records" in found.stderr
    assert str(page) in found.stderr


def test_pdf_figures_on_wish(one_cell: Path) -> None:
    out = one_cell.parent / "reports"
    options = ["report", "--results", str(one_cell), "--out", str(out), "--pdf"]
    assert CliRunner().invoke(app, options).exit_code == 0
    assert [path.read_bytes()[:5] for path in out.rglob("*.pdf")][:1] == [b"%PDF-"]
    assert CliRunner().invoke(app, [*options, "--check"]).exit_code == 0


def test_publish_makes_a_complete_folder(one_cell: Path) -> None:
    out = one_cell.parent / "public"
    options = ["publish", "--results", str(one_cell), "--out", str(out)]
    assert CliRunner().invoke(app, options).exit_code == 0
    assert (out / ".nojekyll").exists()
    assert (out / "card.png").read_bytes().startswith(b"\x89PNG")
    (record,) = (out / "results").rglob("record.json")
    assert f'href="{record.relative_to(out).as_posix()}"' in (out / "index.html").read_text("utf-8")


def test_publish_leaves_foreign_folders_alone(one_cell: Path, tmp_path: Path) -> None:
    foreign = tmp_path / "home"
    foreign.mkdir()
    (foreign / "thesis.txt").write_text("mine")
    options = ["publish", "--results", str(one_cell), "--out", str(foreign)]
    found = CliRunner().invoke(app, options)
    assert isinstance(found.exception, UsageError)
    assert [path.name for path in foreign.iterdir()] == ["thesis.txt"]
