"""Curves of accuracy against the strength of a degradation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from harness.leaderboard.figures.robustness import robustness, sweep_of
from harness.records.store import load_records
from tests.report import factory
from tests.report.factory import Cell
from tests.report.reading import boards_of


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
