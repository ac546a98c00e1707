"""The order of the work: what a page compares first is there first."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from harness.data.catalogue import Dataset
from harness.jobs.job import Job
from harness.jobs.recording import make_record
from harness.protocol import load_protocol
from harness.records import store
from harness.records.schema import CellKey
from harness.run import grid, runner
from harness.run.order import by_worth, shuffled
from tests.run.test_grid import latencies, template_of


def test_order_is_shuffled_by_the_seed_and_interleaved():
    cells = [(backend, n) for backend in ("torch", "keras", "flax") for n in range(9)]
    order = shuffled(cells, lambda cell: cell[0], seed=3)
    assert order == shuffled(cells, lambda cell: cell[0], seed=3)
    assert order != shuffled(cells, lambda cell: cell[0], seed=4)
    assert sorted(order) == sorted(cells)
    for start in range(0, 27, 3):
        assert {cell[0] for cell in order[start : start + 3]} == {"torch", "keras", "flax"}


def test_one_seed_of_all_is_trained_before_the_next() -> None:
    def key(network: str, backend: str, seed: int) -> CellKey:
        names = {
            "dataset": "d",
            "dataset_hash": 64 * "0",
            "protocol": "p",
            "protocol_hash": 64 * "0",
        }
        return CellKey(network=network, backend=backend, seed=seed, **names)

    # As typed on the command line: Flax first, the seeds and networks in any order.
    keys = [key(n, b, s) for s in (1, 0) for b in ("flax", "torch") for n in ("enet", "unet")]
    found = [(one.seed, one.backend, one.network) for one in by_worth(keys, ["unet"])]
    assert found == [
        (seed, backend, network)
        for seed in (0, 1)
        for backend in ("torch", "flax")
        for network in ("unet", "enet")
    ]


class Recorder:
    """Takes the place of the processes: each job ends well at once."""

    def __init__(self, template: Job, dataset: Dataset) -> None:
        self.template, self.dataset = template, dataset
        self.done: list[tuple[Any, ...]] = []

    def __call__(self, jobs: list[Job], _report: object) -> None:
        for job in jobs:
            for key in job.cells:
                if job.stages == ("measure",):
                    self.done.append((key.network, key.backend, job.plan, job.part))
                    self._measured(key, str(job.plan), job.part)
                else:
                    self.done.append((key.network, key.backend, key.seed))
                    record = make_record(job, key, self.dataset.meta, status="ok", reason=None)
                    store.commit(job.results, record)

    def _measured(self, key: CellKey, plan: str, part: int) -> None:
        stored = store.find_usable(self.template.results, self.template.machine, key)
        assert stored
        old = [entry for entry in stored.record.latency if entry.plan != plan]
        new = latencies(self.template, key, [plan])
        new = [entry.model_copy(update={"processes": part + 1}) for entry in new]
        record = stored.record.model_copy(update={"latency": [*old, *new]})
        store.commit(self.template.results, record, keep=stored)


def test_a_page_is_worth_reading_before_the_run_has_ended(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = template_of(
        disc_data,
        tmp_path,
        grid={
            "networks": ["enet", "unet"],
            "backends": ["torch"],
            "seeds": [0, 1],
            "first": ["unet"],
        },
        measuring={"profile": "publish", "plans": {"torch": ["eager", "compile", "openvino"]}},
    )
    recorder = Recorder(template, disc_data)
    monkeypatch.setattr(runner, "run_jobs", recorder)
    runner.execute(template, grid.cells_of(template, disc_data.meta), lambda _: None)
    done = recorder.done
    # One seed is trained, then all its default plans are measured, U-Net leading in every pass.
    assert done[:2] == [("unet", "torch", 0), ("enet", "torch", 0)]
    assert done[2:8] == [
        (name, "torch", "eager", part) for part in range(3) for name in ("unet", "enet")
    ]
    # Then the other plans of U-Net to their end, then those of the rest, then the other seed.
    others = done[8:20]
    assert [name for name, *_ in others] == ["unet"] * 6 + ["enet"] * 6
    assert [part for *_, part in others[:6]] == [0, 0, 1, 1, 2, 2]
    assert done[20:] == [("unet", "torch", 1), ("enet", "torch", 1)]


def test_the_paper_begins_with_its_own_network_and_the_best_of_the_others() -> None:
    assert load_protocol("paper").grid.first == ("rfbsnet", "unet")
