"""The report's files as functions of the records."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import numpy as np
import pandas as pd
import pytest

from harness.errors import RecordError, UsageError
from harness.leaderboard import page as leaderboard
from harness.leaderboard.board.boards import build_boards
from harness.leaderboard.claims.headline import warnings
from harness.leaderboard.figures.latency_dice import pareto_front
from harness.leaderboard.figures.overlays import outline
from harness.leaderboard.figures.robustness import robustness, sweep_of
from harness.leaderboard.schema import export_schema
from harness.records.store import load_galleries, load_records
from tests.conftest import ROOT
from tests.report import factory
from tests.report.factory import Cell


def boards_of(results: Path, **choice):
    return build_boards(load_records(results), load_galleries(results), **choice)


def test_same_records_same_bytes(results: Path, files: dict[str, bytes]) -> None:
    assert leaderboard.render(results) == files


def test_the_page_is_small_and_asks_for_nothing(files: dict[str, bytes]) -> None:
    page = files["index.html"].decode()
    assert len(files["index.html"]) <= 3_000_000
    assert "unsafe-" not in page
    assert "http://" not in page.replace("http://www.w3.org/", "")
    assert "https://" not in page


def test_an_altered_record_alters_the_page(tmp_path: Path) -> None:
    first = factory.write_results(tmp_path / "a" / "results", [Cell(network="enet")])
    second = factory.write_results(
        tmp_path / "b" / "results", [Cell(network="enet", notes=["Run on a busy machine."])]
    )
    assert leaderboard.render(first)["index.html"] != leaderboard.render(second)["index.html"]


def test_the_json_export_is_what_its_schema_says(files: dict[str, bytes]) -> None:
    written = json.loads((ROOT / "docs" / "leaderboard.schema.json").read_text(encoding="utf-8"))
    assert written == export_schema(), "run `make schema`"
    jsonschema.validate(json.loads(files["leaderboard.json"]), written)


def test_a_swept_strength_has_curves_and_one_that_was_not_has_none(tmp_path: Path) -> None:
    cells = [Cell(network=name, swept=True) for name in ("enet", "unet")]
    results = factory.write_results(tmp_path / "results", cells)
    (board,) = boards_of(results)
    drawings = robustness(board)
    assert [d.name for d in drawings] == ["robustness-motion-dice", "robustness-motion-missed"]
    assert all('data-network="enet"' in d.svg and "U-Net" in d.svg for d in drawings)
    subjects = load_records(results)[0].slices().query("set == 'challenging'")["subject"].nunique()
    assert all(d.caption.startswith(f"The same {subjects} subjects at each") for d in drawings)
    slices = load_records(results)[0].slices()
    levels = sweep_of(slices, "strength_motion")
    assert levels.index.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    hard = slices[(slices["set"] == "challenging") & (slices["slice"] == 2)]
    assert levels["dice"][0.5] == pytest.approx(hard["dice"].mean())
    assert levels["missed"][0.5] == pytest.approx((hard["case"] == "missed").mean())
    # A slice with something else wrong says nothing about motion alone.
    slices.loc[slices["slice"] == 2, "strength_bias"] = 0.3
    assert 0.5 not in sweep_of(slices, "strength_motion").index


def test_one_subject_is_enough_for_a_curve(tmp_path: Path) -> None:
    results = factory.write_results(tmp_path / "results", [Cell(network="enet", swept=True)])
    slices = load_records(results)[0].slices()
    hard = slices["set"] == "challenging"
    one = slices[~hard | (slices["subject"] == slices.loc[hard, "subject"].iloc[0])].copy()
    # The preset paper has a single challenging subject, with several stacks.
    again = one[one["set"] == "challenging"].assign(stack="another")
    levels = sweep_of(pd.concat([one, again]), "strength_motion")
    assert levels.index.tolist() == [0.0, 0.25, 0.5, 0.75, 1.0]
    assert set(levels["subjects"]) == {1}
    # Strengths that were drawn are shared where they were cut off, and nowhere else.
    drawn = np.clip(np.random.default_rng(0).normal(0.5, 0.5, len(slices)), 0, 1)
    slices["strength_motion"] = drawn
    assert len(set(drawn)) > 20
    assert sweep_of(slices, "strength_motion").empty


def test_unequal_training_is_said_beside_the_verdict(tmp_path: Path) -> None:
    for name, epochs, said in (("equal", 12, False), ("unequal", 3, True)):
        cells = [Cell(network="enet"), Cell(network="unet", epochs=epochs)]
        (board,) = boards_of(factory.write_results(tmp_path / name / "results", cells))
        warned = "Networks were trained for 3 to 12 epochs" in " ".join(warnings(board))
        assert warned == said


def test_boards_never_mix_hashes_or_machines(tmp_path: Path) -> None:
    cells = [
        Cell(network="enet"),
        Cell(network="unet", protocol_hash="e" * 64),
        Cell(network="icnet", dataset_hash="d" * 64),
        Cell(network="segnet", machine="other"),
    ]
    results = factory.write_results(tmp_path / "results", cells)
    boards = boards_of(results)
    assert sorted([row.network for row in board.rows] for board in boards) == [
        ["enet"],
        ["icnet"],
        ["segnet"],
        ["unet"],
    ]
    (only,) = boards_of(results, protocol="eeee")
    assert [row.network for row in only.rows] == ["unet"]
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        boards_of(results, protocol="tinny")


def test_every_status_has_its_row_and_reason(results: Path) -> None:
    (board,) = boards_of(results)
    rows = {(row.network, row.backend): row for row in board.rows}
    assert rows["segnet", "keras"].status == "oom"
    assert "4.0 GiB" in rows["segnet", "keras"].reason
    assert rows["segnet", "keras"].values["normal_dice"].number is None
    assert rows["dfanet", "flax"].status == "todo"
    assert ("threshold", "torch") not in rows
    assert rows["enet", "flax"].flags == ("weights from PyTorch",)
    assert rows["enet", "torch"].flags == ()
    assert rows["enet", "torch"].stamp == "not publishable: quick profile"


def test_published_profile_has_no_stamp(tmp_path: Path) -> None:
    cells = [Cell(network="enet", profile="publish")]
    (board,) = boards_of(factory.write_results(tmp_path / "results", cells))
    assert [row.stamp for row in board.rows] == [""]


def test_seeds_are_averaged_and_shown(tmp_path: Path) -> None:
    cells = [Cell(network="enet", seed=seed) for seed in (0, 1, 2)]
    (board,) = boards_of(factory.write_results(tmp_path / "results", cells))
    (row,) = board.rows
    found = [record.scores["normal"].dice for record in board.records]
    assert row.values["normal_dice"].number == pytest.approx(100 * np.mean(found))
    assert row.flags == ("3 seeds",)
    assert "seed 2" in row.values["normal_dice"].note


def test_unsafe_names_are_refused(tmp_path: Path) -> None:
    results = factory.write_results(tmp_path / "results", [Cell(network="enet")])
    (path,) = results.glob("*/*/*/*/*/*/record.json")
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace('"network": "enet"', '"network": "<img src=x>"'), encoding="utf-8")
    with pytest.raises(RecordError, match="not allowed"):
        leaderboard.render(results)


def test_no_records_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no such results folder"):
        leaderboard.render(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no records"):
        leaderboard.render(tmp_path / "empty")


def test_exports_hold_every_row(files: dict[str, bytes]) -> None:
    rows = list(csv.DictReader(io.StringIO(files["leaderboard.csv"].decode())))
    assert len(rows) == 28
    data = json.loads(files["leaderboard.json"])
    assert [row["network"] for row in data["rows"]] == [row["network"] for row in rows]
    enet = next(
        row for row in data["rows"] if (row["network"], row["backend"]) == ("enet", "torch")
    )
    assert enet["parameters"] == 362_838
    assert enet["record"].startswith("results/cpu-2-cores/")
    assert files["table1.tex"].decode().count("U-Net") == 3


def test_a_spreadsheet_runs_nothing(tmp_path: Path) -> None:
    cells = [Cell(network="enet", title="=cmd|'/c calc'!A1")]
    results = factory.write_results(tmp_path / "results", cells)
    text = leaderboard.render(results)["leaderboard.csv"].decode()
    assert "'=cmd" in text


def test_figures_stand_beside_the_page_as_valid_svg(files: dict[str, bytes]) -> None:
    drawn = [name for name in files if name.endswith(".svg")]
    assert len(drawn) >= 5
    for name in drawn:
        root = ET.fromstring(files[name])
        assert root.tag.endswith("svg")
        assert "style" not in {attribute for e in root.iter() for attribute in e.attrib}


def test_pareto_front() -> None:
    points = [(1.0, 50.0), (2.0, 40.0), (3.0, 90.0), (3.0, 80.0), (4.0, 90.0)]
    assert pareto_front(points) == [(1.0, 50.0), (3.0, 90.0)]


def test_outline_is_exact() -> None:
    ring = np.ones((3, 3), bool)
    ring[1, 1] = False
    assert outline(ring) == "M0 0h3v3h-3v-3zM1 1v1h1v-1h-1z"
    assert outline(np.eye(2, dtype=bool)) == "M0 0h1v1h-1v-1zM1 1h1v1h-1v-1z"
    assert outline(np.zeros((4, 4), bool)) == ""


def test_differences_are_found(tmp_path: Path, files: dict[str, bytes]) -> None:
    leaderboard.write(files, tmp_path)
    assert leaderboard.differences(files, tmp_path) == []
    (tmp_path / "index.html").write_bytes(files["index.html"].replace(b"RFBSNet", b"RFBSNeX", 1))
    assert leaderboard.differences(files, tmp_path) == ["index.html"]
