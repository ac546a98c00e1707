"""The headline and its warnings."""

from __future__ import annotations

from pathlib import Path

from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.standings import Standings
from harness.leaderboard.claims.headline import headline
from harness.leaderboard.claims.warnings import warnings
from tests.report import factory
from tests.report.factory import Cell
from tests.report.reading import board_of, boards_of


def test_eight_subjects_decide_nothing_and_the_page_says_so(
    ranked: tuple[Board, Standings],
) -> None:
    board, standings = ranked
    found = headline(board, standings)
    assert found.answer.startswith("RFBSNet in PyTorch")
    assert any("cannot tell it apart from any other network" in text for text in found.support)
    assert any("normal set has 8 subjects" in text for text in found.warnings)
    assert any("quick profile" in text for text in found.warnings)


def test_beaten_by_the_floor_is_said(tmp_path: Path) -> None:
    cells = [Cell(network="dfanet"), Cell(network="rfbsnet", title="RFBSNet", backend="torch")]
    results = factory.write_results(tmp_path / "a" / "results", cells)
    assert not any("floor" in text for text in headline(*board_of(results)).warnings)
    floor = Cell(network="threshold", backend="numpy", title="Threshold")
    lone = factory.write_results(tmp_path / "b" / "results", [floor])
    assert "Threshold in NumPy" in headline(*board_of(lone)).answer


def test_split_by_stack_is_warned_of(tmp_path: Path) -> None:
    warning = "The split is by stack: train and test share subjects."
    cells = [Cell(network="enet", dataset={"warnings": [warning], "split": {"by": "stack"}})]
    results = factory.write_results(tmp_path / "results", cells)
    assert warning in headline(*board_of(results)).warnings


def test_what_was_only_timed_is_ranked_by_nothing_but_speed(tmp_path: Path) -> None:
    cells = [Cell(network=network, timed_only=True) for network in ("enet", "unet")]
    board, standings = board_of(factory.write_results(tmp_path / "results", cells))
    found = headline(board, standings)
    assert found.answer.startswith("ENet in PyTorch (eager) is the fastest: ")
    assert "timed here and not scored" in found.support[-1]
    assert not any("no result" in text for text in found.warnings)
    keys = {column.key for column in board.columns}
    assert "end_to_end_p50_ms" in keys
    scores = {key for key in keys if key.startswith(("normal_", "challenging_"))}
    assert all("published" in key for key in scores)


def test_unequal_training_is_said_beside_the_headline(tmp_path: Path) -> None:
    for name, epochs, said in (("equal", 12, False), ("unequal", 3, True)):
        cells = [Cell(network="enet"), Cell(network="unet", epochs=epochs)]
        (board,) = boards_of(factory.write_results(tmp_path / name / "results", cells))
        warned = "Networks were trained for 3 to 12 epochs" in " ".join(warnings(board))
        assert warned == said
