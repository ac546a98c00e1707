"""The leaderboard as CSV, JSON and LaTeX."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import jsonschema

from harness.leaderboard import page as leaderboard
from harness.leaderboard.schema import export_schema
from tests.conftest import ROOT
from tests.report import factory
from tests.report.factory import Cell


def test_the_json_export_is_what_its_schema_says(exported: dict[str, bytes]) -> None:
    written = json.loads((ROOT / "docs" / "leaderboard.schema.json").read_text(encoding="utf-8"))
    assert written == export_schema(), "run `make schema`"
    jsonschema.validate(json.loads(exported["leaderboard.json"]), written)


def test_exports_hold_every_row(exported: dict[str, bytes]) -> None:
    rows = list(csv.DictReader(io.StringIO(exported["leaderboard.csv"].decode())))
    assert len(rows) == 28
    data = json.loads(exported["leaderboard.json"])
    assert [row["network"] for row in data["rows"]] == [row["network"] for row in rows]
    enet = next(
        row for row in data["rows"] if (row["network"], row["backend"]) == ("enet", "torch")
    )
    assert enet["parameters"] == 362_838
    assert enet["record"].startswith("results/cpu-2-cores/")
    assert exported["table1.tex"].decode().count("U-Net") == 3


def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    cells = [Cell(network="enet", title="=cmd|'/c calc'!A1")]
    results = factory.write_results(tmp_path / "results", cells)
    text = leaderboard.render(results, figures=False)["leaderboard.csv"].decode()
    assert "'=cmd" in text


def test_a_line_break_in_a_title_does_not_begin_a_row(tmp_path: Path) -> None:
    cells = [Cell(network="enet", title="\r=cmd|'/c calc'!A1\r\n=1+1")]
    results = factory.write_results(tmp_path / "results", cells)
    text = leaderboard.render(results, figures=False)["leaderboard.csv"].decode()
    assert "\r" not in text
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    assert rows[0]["title"] == "'=cmd|'/c calc'!A1 =1+1"


def test_links_to_records_are_quoted(tmp_path: Path) -> None:
    results = factory.write_results(tmp_path / "a #x ?y", [Cell(network="enet")])
    page = leaderboard.render(results, figures=False)["index.html"].decode()
    assert "a%20%23x%20%3Fy/cpu-2-cores/" in page
    assert 'href="../a #x' not in page


def test_ranks_and_intervals_are_exported(exported: dict[str, bytes]) -> None:
    rows = json.loads(exported["leaderboard.json"])["rows"]
    row = next(r for r in rows if (r["network"], r["backend"]) == ("rfbsnet", "torch"))
    assert row["normal_rank"] == 1
    assert 1 <= row["normal_rank_low"] <= row["normal_rank"] <= row["normal_rank_high"] <= 9
    low, high = row["normal_subject_dice_low"], row["normal_subject_dice_high"]
    assert low < row["normal_subject_dice"] < high
    assert row["normal_tiers"] == "1"


def test_a_title_cannot_leave_its_comment(tmp_path: Path) -> None:
    cells = [Cell(network="enet", dataset={"title": "Data\n\\input{/etc/passwd}"})]
    text = leaderboard.render(factory.write_results(tmp_path / "results", cells), figures=False)[
        "table1.tex"
    ]
    assert not any(line.startswith(b"\\") and b"passwd" in line for line in text.splitlines())
    assert text.splitlines()[0].startswith(b"% Data \\textbackslash{}input")


def test_a_plan_that_failed_in_a_good_record_says_so(tmp_path: Path) -> None:
    cells = [Cell(network="enet", rejected={1: "invalid"}), Cell(network="unet")]
    results = factory.write_results(tmp_path / "results", cells)
    rows = json.loads(leaderboard.render(results, figures=False)["leaderboard.json"])["rows"]
    found = {row["network"]: row for row in rows}
    assert found["enet"]["status"] == found["unet"]["status"] == "ok"
    assert found["unet"]["forward_status"] == "ok"
    assert found["enet"]["forward_status"] == "invalid"
    assert found["enet"]["forward_reason"]


def test_table_1_of_what_was_only_timed_has_no_accuracy(tmp_path: Path) -> None:
    results = factory.write_results(tmp_path / "results", [Cell(network="enet", timed_only=True)])
    text = leaderboard.render(results, figures=False)["table1.tex"].decode()
    (line,) = [line for line in text.splitlines() if line.startswith("ENet")]
    assert line.split(" & ")[2:6] == ["--"] * 4
