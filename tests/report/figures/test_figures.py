"""Figures: what they draw, and SVG that the page can hold."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest

from harness.errors import RecordError
from harness.leaderboard.figures.batch_sweep import batch_sweep
from harness.leaderboard.figures.latency_dice import pareto_front
from harness.leaderboard.figures.overlays import outline
from harness.leaderboard.figures.robustness import robustness
from harness.leaderboard.figures.subjects import subjects
from harness.metrics.aggregation import subject_means
from harness.records.store import load_records
from tests.report import factory
from tests.report.factory import Cell
from tests.report.reading import board_of, boards_of


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


def test_columns_with_a_path_are_refused(tmp_path: Path) -> None:
    cell = Cell(network="enet", swept=True, strength="strength_../../escape")
    results = factory.write_results(tmp_path / "results", [cell])
    with pytest.raises(RecordError, match="not a safe file name"):
        robustness(boards_of(results)[0])


def test_a_line_is_one_subject_by_every_network(tmp_path: Path) -> None:
    cells = [Cell(network="enet"), Cell(network="unet", seed=0), Cell(network="unet", seed=1)]
    results = factory.write_results(tmp_path / "results", cells)
    board, standings = board_of(results)
    scores = {
        (one.record.title, one.record.key.seed): subject_means(
            one.slices().query("set == 'normal'"), "dice", over="alarms"
        )
        for one in load_records(results)
    }
    drawing = subjects(board, standings)[0]
    axes = drawing.draw().axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    mean = {
        "ENet": scores["ENet", 0],
        "U-Net": (scores["U-Net", 0] + scores["U-Net", 1]) / 2,
    }
    assert set(names) == set(mean)
    assert len(axes.lines) == len(mean["ENet"]) == len(drawing.hints)
    for number, line in enumerate(axes.lines):
        drawn = np.asarray(line.get_ydata(), dtype=float)
        assert drawn == pytest.approx([100 * mean[name].iloc[number] for name in names])
