"""Ranks, tiers and intervals, and who takes part: nothing looks better for having failed."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from harness.leaderboard import page as leaderboard
from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.standings import Standings
from harness.leaderboard.claims.warnings import warnings
from harness.records.selection import declared, slice_table
from harness.records.store import load_records
from harness.statistics.comparison import compare
from tests.report import factory
from tests.report.factory import Cell
from tests.report.reading import board_of


def test_ranks_stand_beside_their_intervals(ranked: tuple[Board, Standings]) -> None:
    board, _ = ranked
    rows = {row.network: row for row in board.rows if row.backend == "torch"}
    assert rows["rfbsnet"].values["normal_rank"].number == 1
    assert rows["dfanet"].values["normal_rank"].number == 9
    subject = rows["rfbsnet"].values["normal_subject_dice"]
    assert subject.interval is not None
    assert subject.number is not None
    assert subject.interval[0] < subject.number < subject.interval[1] <= 100
    floor = next(row for row in board.rows if row.network == "threshold")
    assert "normal_rank" not in floor.values, "alone in its backend it has no rank"


def test_rank_chances_are_probabilities(ranked: tuple[Board, Standings]) -> None:
    _, standings = ranked
    view = standings.of("normal", "torch")
    assert view is not None
    for standing in view.family.standings:
        assert sum(standing.rank_chances) == pytest.approx(1)
        assert standing.rank_chances[0] == standing.first_probability


def test_networks_of_one_title_stay_apart(tmp_path: Path) -> None:
    cells = [Cell(network="enet", title="Same"), Cell(network="icnet", title="Same")]
    _, standings = board_of(factory.write_results(tmp_path / "results", cells))
    assert set(standings.names.values()) == {"Same (enet)", "Same (icnet)"}


def nine(*, failed: str = "", **options) -> list[Cell]:
    return [
        Cell(network=n, status="crashed", reason="It crashed.")
        if n == failed
        else Cell(network=n, **options)
        for n in factory.NETWORKS
    ]


def test_a_failed_network_stays_in_the_family(tmp_path: Path) -> None:
    results = factory.write_results(tmp_path / "results", nine(failed="dfanet"))
    _, standings = board_of(results)
    view = standings.of("normal", "torch")
    assert view is not None
    assert view.family.design.family_size == 36
    assert view.absent == ["DFANet"]
    assert view.family.verdict("DFANet", "ENet") == "undefined"
    stored = load_records(results)
    by_command = compare(slice_table(stored), contestants=declared(stored)).families[0]
    assert by_command.design.family_size == 36
    assert [p.p_holm for p in by_command.pairs if "dfanet" in (p.a, p.b)] == [None] * 8
    page = leaderboard.render(results, figures=False)["index.html"].decode()
    assert 'class="v-undefined"' in page


def test_the_protocols_grid_declares_the_family(tmp_path: Path) -> None:
    cells = [
        Cell(network="enet"),
        Cell(network="unet", backend="keras"),
        Cell(network="threshold", backend="numpy", title="Threshold"),
        Cell(network="icnet", backend="keras", status="not_implemented", reason="No file."),
    ]
    stored = load_records(factory.write_results(tmp_path / "results", cells))
    assert declared(stored) == {
        "keras": ["enet", "unet"],
        "numpy": ["threshold"],
        "torch": ["enet", "icnet", "unet"],
    }
    for item in stored:
        item.record.protocol["grid"] = {"networks": ["segnet", "threshold"], "backends": ["flax"]}
    assert declared(stored)["flax"] == ["enet", "icnet", "segnet", "unet"]


def test_scores_count_although_the_latency_failed(tmp_path: Path) -> None:
    kept = {"status": "oom", "reason": "while measuring: out of memory", "scores_kept": True}
    cells = [Cell(network="enet", **kept), Cell(network="unet")]
    results = factory.write_results(tmp_path / "results", cells)
    board, standings = board_of(results)
    row = next(row for row in board.rows if row.network == "enet")
    assert row.number("normal_dice") is not None
    assert row.number("normal_rank") is not None
    assert row.number("end_to_end_p50_ms") is None
    assert row.status == "oom"
    view = standings.of("normal", "torch")
    assert view is not None
    by_command = compare(slice_table(load_records(results))).families[0]
    assert len(view.names) == len(by_command.standings) == 2
    assert not any("no result" in text for text in warnings(board))


def test_a_lost_seed_counts_as_the_worst_and_is_said(tmp_path: Path) -> None:
    cells = [
        Cell(network="enet", seed=0),
        Cell(network="enet", seed=1, status="diverged", reason="The loss was not finite."),
        Cell(network="unet", seed=0),
        Cell(network="unet", seed=1),
    ]
    results = factory.write_results(tmp_path / "results", cells)
    board, standings = board_of(results)
    row = next(row for row in board.rows if row.network == "enet")
    kept = next(r for r in board.records if r.key.network == "enet" and r.scores)
    assert row.number("normal_dice") == pytest.approx(50 * kept.scores["normal"].dice)
    assert "seed 1: 0.00 (diverged, counts as the worst)" in row.values["normal_dice"].note
    brain = kept.scores["normal"].slices_with_brain
    assert row.number("normal_missed") == pytest.approx((kept.scores["normal"].missed + brain) / 2)
    assert row.number("normal_hd95_mm") is None
    assert row.number("normal_hd95_mm_median") is None
    other = next(row for row in board.rows if row.network == "unet")
    distances = [
        one.slices().query("set == 'normal' and brain_pixels > 0")["hd95_mm"]
        for one in load_records(results)
        if one.record.key.network == "unet"
    ]
    assert other.number("normal_hd95_mm_median") == pytest.approx(pd.concat(distances).median())
    volume = row.number("normal_volume_dice")
    assert volume is not None
    assert volume < 55
    assert any("1 of 2 seeds" in text for text in warnings(board))
    view = standings.of("normal", "torch")
    assert view is not None
    standing = view.family.standings[-1]
    assert (standing.name, standing.seeds.seeds) == ("ENet", 2)
    assert standing.seeds.per_seed[1] == 0
