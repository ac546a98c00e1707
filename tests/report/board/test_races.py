"""Latencies: rejected ones are a status, and samples are those of the seed that has them."""

from __future__ import annotations

import json
from pathlib import Path

from harness.leaderboard import page as leaderboard
from harness.leaderboard.board.races import races
from harness.leaderboard.claims.catalogue import claims
from harness.leaderboard.claims.headline import headline
from harness.leaderboard.claims.scanner import scanner
from harness.leaderboard.figures.latency_dice import latency_versus_dice
from tests.report import factory
from tests.report.factory import Cell
from tests.report.reading import board_of


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
    assert "U-Net in PyTorch" in str(headline(board, standings))
    assert "fastest is Fast-SCNN" not in str(headline(board, standings))
    assert all("Fast-SCNN" not in drawing.svg for drawing in latency_versus_dice(board))
    assert races(board) == []
    why = {item.network: item.why for item in scanner(board).candidates}
    assert "unknown" in why["fast_scnn"]
    data = json.loads(leaderboard.render(results, figures=False)["leaderboard.json"])
    found = {row["network"]: row["end_to_end_p50_ms"] for row in data["rows"]}
    assert found["fast_scnn"] is None
    assert found["unet"] is not None


def test_latency_is_that_of_the_seed_that_has_it(tmp_path: Path) -> None:
    """The lowest finished seed was not measured: its samples must not be asked for."""
    cells = [
        Cell(network="rfbsnet", seed=0, batches=()),
        Cell(network="rfbsnet", seed=1),
        Cell(network="unet", seed=0),
    ]
    board, standings = board_of(factory.write_results(tmp_path / "results", cells))
    found = {claim.text: claim for claim in claims(board, standings)}
    assert found["RFBSNet is the fastest network at batch size 1."].outcome == "undecided"
