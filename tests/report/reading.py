"""Boards of a results folder, as the page makes them."""

from __future__ import annotations

from pathlib import Path

from harness.leaderboard.board.boards import Board, build_boards
from harness.leaderboard.board.races import with_intervals
from harness.leaderboard.board.standings import Standings, with_standings
from harness.records.store import load_galleries, load_records


def boards_of(results: Path, **choice: str) -> list[Board]:
    """The boards of a folder, without comparisons."""
    return build_boards(load_records(results), load_galleries(results), **choice)


def board_of(results: Path) -> tuple[Board, Standings]:
    """The only board of a folder, with intervals and comparisons."""
    (board,) = boards_of(results)
    return with_standings(with_intervals(board))
