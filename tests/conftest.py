"""Fixtures that several wings share."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from harness.checks.clients import WorkerClient
from harness.data.catalogue import Dataset
from harness.data.description import DatasetMeta
from harness.data.writer import DatasetWriter, Stack

ROOT = Path(__file__).parents[1]
Fetalbench = Callable[..., subprocess.CompletedProcess[str]]
Workers = Callable[[str], WorkerClient]


def pytest_configure() -> None:
    """Give each of several test processes a core of its own, which its children inherit.

    Two frameworks that each spin two threads on the same two cores take ten times as long as one
    after the other: a test that trains then runs into its cell's time limit.
    """
    # On a GPU box the frameworks have environments of their own; the tests are about this one.
    os.environ["FETALBENCH_INTERPRETERS"] = ""
    # Nor is it about what else runs here: a test waits for no measurement of another session.
    locks = tempfile.mkdtemp(prefix="fetalbench-locks-")
    atexit.register(shutil.rmtree, locks, ignore_errors=True)
    os.environ["FETALBENCH_LOCKS"] = locks
    worker = os.environ.get("PYTEST_XDIST_WORKER", "")
    if worker:
        cores = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {cores[int(worker.removeprefix("gw")) % len(cores)]})


@pytest.fixture
def fetalbench(tmp_path: Path) -> Fetalbench:
    """The command line in a process of its own, started in an empty folder."""

    def call(*words: str | Path, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "harness.cli", *map(str, words)],
            cwd=tmp_path,
            env=dict(os.environ) | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    return call


# Compiling takes most of the time of a comparison in Flax, and half of it so: what is compared is
# computed once, and need not be computed fast.
QUICK_COMPILATION = " ".join(
    (
        "--xla_backend_optimization_level=0",
        "--xla_llvm_disable_expensive_passes=true",
        "--xla_cpu_use_fusion_emitters=false",
    )
)


@pytest.fixture(scope="session")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Workers]:
    """The worker of a framework, started at its first use: one set serves all tests."""
    folder = tmp_path_factory.mktemp("workers")
    started: dict[str, WorkerClient] = {}

    def of(backend: str) -> WorkerClient:
        if backend not in started:
            with pytest.MonkeyPatch.context() as patch:
                patch.setenv("XLA_FLAGS", QUICK_COMPILATION)
                started[backend] = WorkerClient(backend, folder, threads=1)
        return started[backend]

    yield of
    for client in started.values():
        client.close()


def discs(count: int, size: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(count, size, size) noisy images with a bright disc, every fifth without, and its mask."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    images = random.normal(0, 0.3, (count, size, size)).astype(np.float32)
    masks = np.zeros((count, size, size), np.uint8)
    for index in range(count):
        if index % 5:
            y, x = random.uniform(0.35 * size, 0.65 * size, 2)
            radius = random.uniform(0.1 * size, 0.2 * size)
            masks[index] = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
    return images + masks, masks


@pytest.fixture(scope="session")
def disc_data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A data set that a network learns in seconds: five training subjects, four for tests."""
    folder = tmp_path_factory.mktemp("data") / "discs"
    meta = DatasetMeta(
        name="discs", title="Discs", kind="phantom", source="drawn by a test", licence="CC0-1.0"
    )
    sets = ["train"] * 5 + ["normal"] * 2 + ["challenging"] * 2
    with DatasetWriter(folder, meta) as writer:
        for number, name in enumerate(sets):
            images, masks = discs(10, 64, number)
            writer.add_stack(
                Stack(
                    name=f"sub-{number:02d}",
                    subject=f"sub-{number:02d}",
                    set_name=name,
                    images=images,
                    masks=masks,
                    spacing_mm=(1.0, 1.0),
                    thickness_mm=3.0,
                    affine=np.eye(4),
                    orientation="axial",
                )
            )
        return writer.finish()
