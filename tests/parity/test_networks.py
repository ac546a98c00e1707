"""The paper's nine networks are one and the same in the three frameworks."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import combinations, permutations
from typing import Any

import pytest

from harness import registry
from tests.conftest import ROOT

FRAMEWORKS = ("torch", "keras", "flax")
PAPER = tuple(name for name, entry in registry.networks().items() if entry.card.published)
Row = dict[str, Any]


def parity(*words: str) -> list[Row]:
    """The rows of `fetalbench parity`; it ends with 1 where one of them is not within."""
    command = [sys.executable, "-m", "harness.cli", "parity", "--json", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(done.stdout)
    assert done.returncode == (not all(row["within"] for row in rows))
    return rows


def assert_one_and_the_same(rows: list[Row], sizes: set[tuple[int, int]]) -> None:
    logits = [row for row in rows if row["quantity"] == "logits"]
    assert {(row["source"], row["target"]) for row in logits} == set(permutations(FRAMEWORKS, 2))
    assert {(row["height"], row["width"]) for row in logits} == sizes
    for row in rows:
        assert row["within"], row
    for row in logits:
        if (row["network"], row["height"]) != ("segnet", 256):  # see docs/parity.md
            assert row["max_abs_diff"] <= 1e-4 * max(1, row["scale"])
        # The tolerance is absolute: it means something for logits of order 1 only.
        assert 0.2 < row["scale"] < 5


@pytest.fixture(scope="module")
def small() -> list[Row]:
    return parity("--networks", ",".join(PAPER), "--size", "64x64", "--no-training")


@pytest.mark.parametrize("name", PAPER)
def test_logits_agree_in_all_directions(small: list[Row], name: str) -> None:
    assert_one_and_the_same([row for row in small if row["network"] == name], {(64, 64)})


def test_a_training_step_agrees() -> None:
    rows = parity("--networks", "rfbsnet", "--size", "64x64")
    assert_one_and_the_same(rows, {(64, 64)})
    pairs = set(combinations(FRAMEWORKS, 2))
    for quantity in ("loss", "gradient", "weights after a step"):
        assert {(r["source"], r["target"]) for r in rows if r["quantity"] == quantity} == pairs


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPER)
def test_logits_and_steps_agree_at_the_papers_size_and_off_the_square(name: str) -> None:
    rows = parity("--networks", name)
    assert_one_and_the_same(rows, {(256, 256), (64, 64), (64, 128)})
    assert {row["quantity"] for row in rows} >= {"loss", "gradient", "weights after a step"}
