"""Which records share a table, and what its rows hold."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.errors import RecordError, UsageError
from harness.leaderboard import page as leaderboard
from harness.leaderboard.board.boards import build_boards
from harness.leaderboard.board.network_lines import network_lines
from harness.leaderboard.claims.scanner import scanner
from harness.records.soundness import digest_of
from harness.records.store import load_records
from tests.report import factory
from tests.report.factory import Cell
from tests.report.reading import board_of, boards_of


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
    record = json.loads(path.read_text(encoding="utf-8"))
    record["key"]["network"] = "<img src=x>"
    record["digest"] = digest_of(record)
    path.write_text(json.dumps(record), encoding="utf-8")
    with pytest.raises(RecordError, match=r"key\.network: String should match"):
        leaderboard.render(results, figures=False)


def test_no_records_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no such results folder"):
        leaderboard.render(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="no records"):
        leaderboard.render(tmp_path / "empty")


def test_boards_and_rows_of_like_names_stay_apart(tmp_path: Path) -> None:
    cells = [
        Cell(network="enet", machine=machine, plan=plan)
        for machine in ("a.b", "a_b", "a-b")
        for plan in ("x", "x-y")
    ]
    for seed, cell in enumerate(cells):
        cells[seed] = Cell(network="enet", machine=cell.machine, plan=cell.plan, seed=seed)
    boards = build_boards(load_records(factory.write_results(tmp_path / "results", cells)), {})
    assert len({board.id for board in boards}) == 3
    ids = [row.id for board in boards for row in board.rows]
    assert len(set(ids)) == len(ids) == 6


def test_the_memory_that_most_rows_know_is_shown(tmp_path: Path) -> None:
    cells = [
        Cell(network="enet", memory={"allocated_peak_bytes": 2**20}),
        Cell(network="unet"),
        Cell(network="segnet"),
    ]
    board, _ = board_of(factory.write_results(tmp_path / "results", cells))
    assert [c.key for c in board.columns if c.key.endswith("_mib") and c.shown] == ["rss_peak_mib"]


def test_plans_with_a_path_are_refused(tmp_path: Path) -> None:
    cells = [Cell(network="enet", plan="../../escape")]
    results = factory.write_results(tmp_path / "results", cells)
    with pytest.raises(RecordError, match=r"plan name '../../escape' is not allowed"):
        leaderboard.render(results, figures=False)


def test_a_plan_shows_what_its_own_masks_lose(tmp_path: Path) -> None:
    cells = [
        Cell(network="enet", plan="openvino-int8", precision="int8", plan_loses=0.031),
        Cell(network="unet"),
    ]
    board, _ = board_of(factory.write_results(tmp_path / "results", cells))
    rows = {row.network: row for row in board.rows}
    lost = rows["enet"].values["plan_normal_difference"]
    assert (lost.text, lost.below) == ("-3.10", "-4.10 to -2.10")
    assert lost.note == "from 90.00 % in float64; 8 subjects, 40 slices"
    assert rows["enet"].number("plan_challenging_dice") == pytest.approx(86.9)
    assert rows["enet"].values["plan_normal_changed"].text == "2"
    unknown = rows["unet"].values["plan_normal_difference"]
    assert (unknown.number, unknown.note) == (None, "the accuracy of this plan was not scored")
    (line,) = [line for line in network_lines(board, "torch") if line.network == "enet"]
    assert line.number("plan_normal_difference") == pytest.approx(-3.1)
    # A scanner gets the plan's masks, not those in float64.
    (least,) = [c.lows["normal"] for c in scanner(board).candidates if c.network == "enet"]
    interval = rows["enet"].values["normal_subject_dice"].interval
    assert least is not None
    assert interval is not None
    assert least == pytest.approx(interval[0] - 3.1)


def test_plans_that_nobody_scored_have_no_column(results: Path) -> None:
    keys = {column.key for column in board_of(results)[0].columns}
    assert not any(key.startswith("plan_") for key in keys)
