"""The watch over a worker that does nothing any more."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from harness.records.store import load_records
from tests import plugins

PACKAGE = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"
[project]
name = "hanging"
version = "1"
[project.entry-points."fetalbench.architectures"]
hanging = "hanging_nets.hanging"
[tool.setuptools]
packages = ["hanging_nets", "hanging_nets.hanging"]
"""
CARD = """
from architectures.card import Card
CARD = Card(title="Hanging", summary="Stops.", citation="none", url="https://example.org")
"""
NETWORK = """
import time
import numpy as np

def build(*, classes=2, height=256, width=256):
    calls = []
    def forward(images):
        calls.append(len(images))
        if len(calls) > {good}:
            time.sleep(600)
        if len(calls) <= 45:
            time.sleep({seconds})
        return np.zeros((*images.shape[:3], classes), np.float32)
    return forward
"""
PROTOCOL = """
name = "short"
[input]
height = 64
width = 64
[evaluation]
batch_size = 1
[measuring]
quantities = ["end_to_end"]
[limits]
stalled_seconds = 30
"""


def run(disc_data: Dataset, folder: Path, *, good: int, seconds: float) -> tuple[int, str]:
    package = folder / "package"
    network = package / "hanging_nets" / "hanging"
    network.mkdir(parents=True)
    (package / "pyproject.toml").write_text(PACKAGE)
    (network.parent / "__init__.py").touch()
    (network / "__init__.py").touch()
    (network / "card.py").write_text(CARD)
    (network / "numpy_net.py").write_text(NETWORK.format(good=good, seconds=seconds))
    plugins.install(package, folder / "site")
    (folder / "short.toml").write_text(PROTOCOL)
    words = ("run", "--data", disc_data.folder, "--protocol", "short.toml")
    done = plugins.fetalbench(
        *words, "--networks", "hanging,threshold", site=folder / "site", cwd=folder
    )
    return done.returncode, done.stderr


@pytest.mark.slow  # waits for a limit: most of a minute
def test_a_worker_that_hangs_is_ended_and_the_next_cell_is_run(
    disc_data: Dataset, tmp_path: Path
) -> None:
    start = time.monotonic()
    code, said = run(disc_data, tmp_path, good=3, seconds=0)
    assert code == 1, said
    # Neither the hour that a cell may take nor the network's ten minutes.
    assert time.monotonic() - start < 300
    found = {one.record.key.network: one.record for one in load_records(tmp_path / "results")}
    assert found["hanging"].status == "timeout"
    reason = "made no progress for 30 s: no epoch, batch or query was done"
    assert found["hanging"].reason == reason
    assert found["threshold"].status == "ok"
    assert json.loads(found["threshold"].model_dump_json())["latency"][0]["status"] == "ok"


@pytest.mark.slow  # waits for longer than its limit: a minute and a half
def test_a_slow_worker_that_does_batch_after_batch_is_left_alone(
    disc_data: Dataset, tmp_path: Path
) -> None:
    """Forty slices of 0.9 s each take longer than the half minute of silence that is allowed."""
    code, said = run(disc_data, tmp_path, good=10_000, seconds=0.9)
    assert code == 0, said
    found = {one.record.key.network: one.record for one in load_records(tmp_path / "results")}
    assert found["hanging"].status == "ok"
    assert (found["hanging"].seconds or 0) > 32
