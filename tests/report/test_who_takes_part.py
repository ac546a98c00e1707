"""Failed networks, lost seeds and rejected latencies: nothing looks better for having failed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from harness.leaderboard import page as leaderboard
from harness.leaderboard.board.boards import Board, build_boards
from harness.leaderboard.board.scanner import candidates
from harness.leaderboard.board.speed import races, with_intervals
from harness.leaderboard.board.standings import Standings, with_standings
from harness.leaderboard.claims.headline import verdict, warnings
from harness.leaderboard.figures.batch_sweep import batch_sweep
from harness.leaderboard.figures.latency_dice import latency_versus_dice
from harness.records.selection import declared, slice_table
from harness.records.store import load_galleries, load_records
from harness.statistics.comparison import compare
from tests.report import factory
from tests.report.factory import Cell


def board_of(results: Path) -> tuple[Board, Standings]:
    (board,) = build_boards(load_records(results), load_galleries(results))
    return with_standings(with_intervals(board))


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
    page = leaderboard.render(results)["index.html"].decode()
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


def test_a_rejected_latency_is_a_status_and_no_number(tmp_path: Path) -> None:
    cells = [
        Cell(network="fast_scnn", rejected={1: "invalid"}),
        Cell(network="enet", rejected={1: "oom"}),
        Cell(network="unet"),
    ]
    results = factory.write_results(tmp_path / "results", cells)
    board, standings = board_of(results)
    rows = {row.network: row for row in board.rows}
    for network, title in (("fast_scnn", "invalid"), ("enet", "out of memory")):
        for key in ("end_to_end_p50_ms", "end_to_end_p90_ms", "forward_p50_ms", "forward_mean_ms"):
            value = rows[network].values[key]
            assert (value.number, value.text, value.interval) == (None, title, None), key
            assert value.note == "The GPU was throttled by its heat."
    assert "U-Net in PyTorch" in str(verdict(board, standings))
    assert "Fastest is Fast-SCNN" not in str(verdict(board, standings))
    assert all("Fast-SCNN" not in drawing.svg for drawing in latency_versus_dice(board))
    assert races(board, "end_to_end") == []
    why = {item.network: item.why for item in candidates(board)}
    assert "not known" in why["fast_scnn"]
    data = json.loads(leaderboard.render(results)["leaderboard.json"])
    found = {row["network"]: row["end_to_end_p50_ms"] for row in data["rows"]}
    assert found["fast_scnn"] is None
    assert found["unet"] is not None


def test_scores_count_although_the_latency_failed(tmp_path: Path) -> None:
    kept = {"status": "oom", "reason": "No memory was left to measure.", "scores_kept": True}
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


def test_what_was_only_timed_is_ranked_by_nothing_but_speed(tmp_path: Path) -> None:
    cells = [Cell(network=network, timed_only=True) for network in ("enet", "unet")]
    board, standings = board_of(factory.write_results(tmp_path / "results", cells))
    found = verdict(board, standings)
    assert found.headline.startswith("ENet in PyTorch (eager) is fastest: ")
    assert "timed here and not scored" in found.support[-1]
    assert not any("no result" in text for text in found.warnings)
    keys = {column.key for column in board.columns}
    assert "end_to_end_p50_ms" in keys
    scores = {key for key in keys if key.startswith(("normal_", "challenging_"))}
    assert all("published" in key for key in scores)


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
    volume = row.number("normal_volume_dice")
    assert volume is not None
    assert volume < 55
    assert any("1 of 2 seeds" in text for text in warnings(board))
    view = standings.of("normal", "torch")
    assert view is not None
    standing = view.family.standings[-1]
    assert (standing.name, standing.seeds.seeds) == ("ENet", 2)
    assert standing.seeds.per_seed[1] == 0


def test_latency_is_that_of_the_seed_that_has_it(tmp_path: Path) -> None:
    """The lowest finished seed was not measured: its samples must not be asked for."""
    cells = [
        Cell(network="rfbsnet", seed=0, batches=()),
        Cell(network="rfbsnet", seed=1),
        Cell(network="unet", seed=0),
    ]
    board, standings = board_of(factory.write_results(tmp_path / "results", cells))
    found = {claim.text: claim for claim in leaderboard.claims(board, standings)}
    assert found["RFBSNet is the fastest network at batch size 1."].outcome == "undecided"


def test_the_memory_that_most_rows_know_is_shown(tmp_path: Path) -> None:
    cells = [
        Cell(network="enet", memory={"allocated_peak_bytes": 2**20}),
        Cell(network="unet"),
        Cell(network="segnet"),
    ]
    board, _ = board_of(factory.write_results(tmp_path / "results", cells))
    assert [c.key for c in board.columns if c.key.endswith("_mib") and c.shown] == ["rss_peak_mib"]


def test_a_gap_in_a_sweep_is_a_gap(tmp_path: Path) -> None:
    cells = [Cell(network="enet", rejected={4: "oom"}), Cell(network="unet")]
    board, _ = board_of(factory.write_results(tmp_path / "results", cells))
    (drawing,) = batch_sweep(board)
    assert "ENet at batch 4 (out of memory)" in drawing.caption
    axes = drawing.draw().axes[0]
    line = next(line for line in axes.lines if line.get_gid() == "network:enet/line")
    batches, times = np.asarray(line.get_xdata()), np.asarray(line.get_ydata(), dtype=float)
    assert np.isnan(times).tolist() == (batches == 4).tolist()
    cross = next(line for line in axes.lines if line.get_gid() == "network:enet/gaps")
    assert np.asarray(cross.get_xdata()).tolist() == [2]


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


def test_ranks_and_intervals_are_exported(files: dict[str, bytes]) -> None:
    rows = json.loads(files["leaderboard.json"])["rows"]
    row = next(r for r in rows if (r["network"], r["backend"]) == ("rfbsnet", "torch"))
    assert row["normal_rank"] == 1
    assert 1 <= row["normal_rank_low"] <= row["normal_rank"] <= row["normal_rank_high"] <= 9
    low, high = row["normal_subject_dice_low"], row["normal_subject_dice_high"]
    assert low < row["normal_subject_dice"] < high
    assert row["normal_tiers"] == "1"


def test_a_title_cannot_leave_its_comment(tmp_path: Path) -> None:
    cells = [Cell(network="enet", dataset={"title": "Data\n\\input{/etc/passwd}"})]
    text = leaderboard.render(factory.write_results(tmp_path / "results", cells))["table1.tex"]
    assert not any(line.startswith(b"\\") and b"passwd" in line for line in text.splitlines())
    assert text.splitlines()[0].startswith(b"% Data \\textbackslash{}input")
