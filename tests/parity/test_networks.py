"""Every network that is in several frameworks is one and the same in them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from itertools import combinations, permutations
from typing import Any

import pytest

from harness import registry
from harness.checks.parity import compare
from tests.conftest import QUICK_COMPILATION, ROOT, Workers

FRAMEWORKS = ("torch", "keras", "flax")
IMPLEMENTED = {
    name: tuple(backend for backend in FRAMEWORKS if entry.implements(backend))
    for name, entry in registry.networks().items()
}
SHARED = tuple(name for name, backends in IMPLEMENTED.items() if len(backends) > 1)
# Without and with batch normalisation; other networks' steps take minutes to compile.
STEPPED = ("rfbsnet", "fast_scnn")
Row = dict[str, Any]


def parity(*words: str) -> list[Row]:
    """The rows of `fetalbench parity`; its exit code is 1 if one is not within."""
    command = [sys.executable, "-m", "harness.cli", "parity", "--json", *words]
    environment = os.environ | {"XLA_FLAGS": QUICK_COMPILATION}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode in (0, 1), done.stderr
    rows = json.loads(done.stdout)
    assert done.returncode == (not all(row["within"] for row in rows))
    return rows


def assert_one_and_the_same(rows: list[Row], name: str, sizes: set[tuple[int, int]]) -> None:
    own = [row for row in rows if row["network"] == name]
    logits = [row for row in own if row["quantity"] == "logits"]
    directions = {(*pair, *size) for pair in permutations(IMPLEMENTED[name], 2) for size in sizes}
    found = [(row["source"], row["target"], row["height"], row["width"]) for row in logits]
    assert sorted(found) == sorted(directions)
    for row in own:
        assert row["within"], row
    for row in logits:
        # Absolute, and for logits of order 1.
        assert row["max_abs_diff"] <= 1e-4
        assert 0.2 < row["scale"] < 5


def assert_steps_agree(rows: list[Row], name: str) -> None:
    pairs = set(combinations(IMPLEMENTED[name], 2))
    for quantity in ("loss", "gradient", "weights after a step"):
        own = [row for row in rows if (row["network"], row["quantity"]) == (name, quantity)]
        assert {(row["source"], row["target"]) for row in own} == pairs


def test_the_papers_networks_are_among_them() -> None:
    paper = {name for name, entry in registry.networks().items() if entry.card.published}
    assert len(paper) == 9
    assert paper <= set(SHARED)


@pytest.fixture(scope="module")
def small(worker: Workers, tmp_path_factory: pytest.TempPathFactory) -> list[Row]:
    """All networks at one size; the slow test takes others, off the square."""
    grid = [(name, IMPLEMENTED[name]) for name in SHARED]
    workers = {backend: worker(backend) for _, own in grid for backend in own}
    folder = tmp_path_factory.mktemp("parity")
    found = compare(grid, [(64, 64)], workers, folder, training=False)
    return [row.row() for rows in found for row in rows]


@pytest.mark.parametrize("name", SHARED)
def test_logits_agree_in_all_directions(small: list[Row], name: str) -> None:
    assert_one_and_the_same(small, name, {(64, 64)})


@pytest.fixture(scope="module")
def steps() -> list[Row]:
    return parity("--networks", ",".join(STEPPED), "--size", "64x64")


@pytest.mark.parametrize("name", STEPPED)
def test_a_training_step_agrees(steps: list[Row], name: str) -> None:
    assert_one_and_the_same(steps, name, {(64, 64)})
    assert_steps_agree(steps, name)


@pytest.mark.slow  # SegNet at 256×256, and every step compiled: minutes
@pytest.mark.parametrize("name", SHARED)
def test_logits_and_steps_agree_at_the_papers_size_and_off_the_square(name: str) -> None:
    rows = parity("--networks", name)
    assert_one_and_the_same(rows, name, {(256, 256), (64, 64), (64, 128)})
    assert_steps_agree(rows, name)


@pytest.mark.slow  # nine networks, each examined in three frameworks
@pytest.mark.alone  # reads the clock: a check is to end within a minute
@pytest.mark.parametrize("name", SHARED)
def test_check_passes_within_a_minute(name: str) -> None:
    command = [sys.executable, "-m", "harness.cli", "check", name, "--json"]
    started = time.monotonic()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    seconds = time.monotonic() - started
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)
    examined = {row["backend"] for row in rows if row["what"] == "gradients, falling loss"}
    assert examined == set(IMPLEMENTED[name])
    compared = {row["backend"] for row in rows if row["what"] == "parity: logits"}
    assert compared == {f"{a} → {b}" for a, b in permutations(IMPLEMENTED[name], 2)}
    assert {row["verdict"] for row in rows} == {"passed"}
    assert seconds < 60, f"{name} took {seconds:.0f} s"
