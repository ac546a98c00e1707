"""A lost device ends the process; what one batch size held is gone before the next."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from backends.contract import Runtime
from harness import registry
from harness.data.catalogue import Dataset
from harness.jobs import events
from harness.measuring.profiles import PROFILES
from harness.measuring.timing_run import measure_network
from harness.protocol import Measuring
from harness.records import store
from harness.run import grid
from harness.worker import cells
from harness.worker import timing as worker_timing
from tests.contract import fakes
from tests.measuring.test_latency import SHORT
from tests.run.test_grid import template_of

pytestmark = pytest.mark.usefixtures("_short")
STICKY = "CUDA error: an illegal memory access was encountered"


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(PROFILES, "quick", SHORT)


class Losing(fakes.FakeInference):
    """Loses the device at batch size 2, as PyTorch says it."""

    def work(self) -> None:
        if len(self.images) == 2:
            raise RuntimeError(f"{STICKY}\nCompile with TORCH_USE_CUDA_DSA")


class Circular(fakes.FakeInference):
    """Holds memory in a reference cycle, as a bound method kept as an attribute makes one."""

    alive: ClassVar[weakref.WeakSet[Circular]] = weakref.WeakSet()

    def __init__(self, images: np.ndarray, quantity: str) -> None:
        others = list(self.alive)
        assert others == [], "the last batch size's query is still alive"
        super().__init__(images, quantity)
        self.own = self.answer
        self.alive.add(self)


def settings(*batches: int) -> Measuring:
    return Measuring(profile="quick", batches=batches, quantities=("forward",))


def images() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((4, 8, 8, 1)).astype(np.float32)


def test_nothing_is_measured_after_the_device_is_lost() -> None:
    found = list(
        measure_network(
            fakes.FakeBackend(Runtime()),
            fakes.FakeNetwork(Losing, 8, 8),
            images(),
            plans=[fakes.PLAN],
            settings=settings(1, 2, 4),
        )
    )
    assert [(one.condition.batch, one.lost_device) for one in found] == [(1, False), (2, True)]
    assert found[0].latency_ns is not None
    assert (found[1].status, found[1].reasons) == ("crashed", (f"RuntimeError: {STICKY}",))


def test_memory_of_one_batch_size_is_not_left_from_the_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network = fakes.FakeNetwork(Circular, 8, 8)
    released: list[int] = []
    monkeypatch.setattr(network, "release", lambda: released.append(len(Circular.alive)))
    gc.disable()  # only the harness collects
    try:
        found = measure_network(
            fakes.FakeBackend(Runtime()),
            network,
            images(),
            plans=[fakes.PLAN],
            settings=settings(1, 2, 4),
        )
        assert [one.status == "crashed" for one in found] == [False] * 3
    finally:
        gc.enable()
    assert len(released) == 3


def test_the_worker_ends_after_recording_a_lost_device(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two cells in one process: the second is left to a new one."""
    tables: dict[str, Any] = {
        "grid": {"networks": ["unet", "enet"], "backends": ["torch"], "seeds": [0]},
        "measuring": {"profile": "quick", "batches": [1, 2, 4], "quantities": ["forward"]},
    }
    template = template_of(disc_data, tmp_path, **tables)
    asked = [cell.key for cell in grid.cells_of(template, disc_data.meta)]

    class Backend(fakes.FakeBackend):
        name = "torch"
        capabilities = registry.load_backend("torch").capabilities

        def build(self, *_: Any, **__: Any) -> fakes.FakeNetwork:
            return AnyPlan(Losing, 64, 64)

    class AnyPlan(fakes.FakeNetwork):
        def prepare(self, images: np.ndarray, *, plan: str, quantity: str) -> Any:
            assert plan == "eager"
            return self.kind(images, quantity)

        def set_weights(self, weights: Any) -> None:
            pass

    monkeypatch.setattr(registry, "load_backend", lambda _: Backend)
    monkeypatch.setattr(Backend, "multiply", lambda _, left, right, **__: left @ right)
    monkeypatch.setattr(worker_timing.timing_run, "peak_flops", lambda *_: {})
    seen: list[events.Event] = []
    with pytest.raises(cells.Poisoned):
        cells.run_job(template.with_cells(asked, stages=("measure",)), seen.append)
    started = [event.cell for event in seen if isinstance(event, events.CellStarted)]
    assert started == asked[:1]
    stored = store.find_record(tmp_path, template.machine, asked[0])
    assert stored is not None
    by_batch = {entry.batch: entry for entry in stored.record.latency}
    assert by_batch[1].status != "crashed"
    assert (by_batch[2].status, by_batch[4].status) == ("crashed", "crashed")
    assert STICKY in (by_batch[2].reason or "")
    assert "skipped_after_crashed" in (by_batch[4].reason or "")
    assert len(stored.latency_samples()["batch"].unique()) == 1
