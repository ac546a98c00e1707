"""All cells of the registry, counted at once: nine networks in three frameworks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness import registry

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("torch", "keras", "flax")
PAPER = tuple(name for name, entry in registry.networks().items() if entry.card.published)
CELLS = [(name, backend) for name in PAPER for backend in FRAMEWORKS]
Row = dict[str, Any]

# spec: 2 per multiply-add of (transposed) convolutions at 256×256, to the printed digit.
CONVOLUTIONS = {
    "unet": "101.561",
    "rfbsnet": "5.3134",
    "segnet": "79.818",
    "enet": "0.9361",
    "fast_scnn": "0.5057",
    "dfanet": "0.2383",
    "shuffleseg": "0.3642",
    "shuffleseg_v2": "1.1354",
    "icnet": "1.7970",
}


def rounded(value: float, printed: str) -> str:
    """`value` with as many decimals as `printed` has."""
    return f"{value:.{len(printed.partition('.')[2])}f}"


def test_there_are_27_cells() -> None:
    assert len(PAPER) == 9
    missing = [cell for cell in CELLS if not registry.network(cell[0]).implements(cell[1])]
    assert missing == []


@pytest.fixture(scope="module")
def rows() -> dict[tuple[str, str], Row]:
    """What `fetalbench cost --json` prints, by cell."""
    words = [sys.executable, "-m", "harness.cli", "cost", "--json", "--networks", ",".join(PAPER)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return {(row["network"], row["backend"]): row for row in json.loads(done.stdout)}


@pytest.mark.parametrize(("name", "backend"), CELLS)
def test_parameters_equal_table_1_to_the_last_digit(
    rows: dict[tuple[str, str], Row], name: str, backend: str
) -> None:
    published = registry.network(name).card.published
    assert published is not None
    row = rows[name, backend]
    assert row["trainable_parameters"] == published.trainable_parameters
    assert row["paper_parameters"] == published.trainable_parameters


@pytest.mark.parametrize(("name", "backend"), CELLS)
def test_operations_equal_the_printed_digits(
    rows: dict[tuple[str, str], Row], name: str, backend: str
) -> None:
    published = registry.network(name).card.published
    assert published is not None
    row = rows[name, backend]
    digits = len(published.gflops.replace(".", "").lstrip("0"))
    assert float(f"{row['paper_convention_gflops']:.{digits}g}") == float(published.gflops)
    assert row["paper_gflops"] == float(published.gflops)
    assert row["flops"] == 2 * row["macs"]
    assert rounded(row["flops"] / 1e9, CONVOLUTIONS[name]) == CONVOLUTIONS[name]
    assert rounded(row["paper_convention_gflops"], published.gflops) == published.gflops


@pytest.mark.parametrize("name", PAPER)
def test_the_frameworks_count_the_same(rows: dict[tuple[str, str], Row], name: str) -> None:
    own = [
        {key: value for key, value in rows[name, backend].items() if key != "backend"}
        for backend in FRAMEWORKS
    ]
    assert own[0] == own[1] == own[2]
