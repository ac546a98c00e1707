"""The grid: which cells are asked for, and what their records say of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.plans import PLANS
from harness import registry
from harness.data.catalogue import Dataset
from harness.jobs.job import Job
from harness.jobs.recording import make_record
from harness.jobs.timing_code import timing_code
from harness.measuring import entries
from harness.measuring.machine import machine
from harness.protocol import parse_protocol
from harness.records import store
from harness.records.schema import CellKey, Latency
from harness.run import grid


def template_of(dataset: Dataset, results: Path, **tables: Any) -> Job:
    protocol = parse_protocol({"name": "x", "input": {"height": 64, "width": 64}} | tables, "x")
    return Job(
        protocol=protocol,
        protocol_source="x",
        dataset=dataset.folder,
        results=results,
        hardware=machine(),
    )


def states(template: Job, dataset: Dataset, **chosen: Any) -> dict[tuple[str, str, int], str]:
    cells = grid.cells_of(template, dataset.meta, **chosen)
    return {(cell.key.network, cell.key.backend, cell.key.seed): cell.state for cell in cells}


def latencies(template: Job, key: CellKey, plans: list[str]) -> list[Latency]:
    settings = template.protocol.measuring
    return [
        Latency(**one.model_dump(), profile=settings.profile, status="ok", processes=1)
        for plan in PLANS[key.backend]
        if plan.key in plans
        for one in entries.conditions(plan.key, plan.precision, settings)
    ]


def test_options_come_first_then_the_protocol_then_everything(
    disc_data: Dataset, tmp_path: Path
) -> None:
    template = template_of(disc_data, tmp_path, grid={"networks": ["unet"], "seeds": [1, 2]})
    assert list(states(template, disc_data)) == [
        ("unet", backend, seed) for seed in (1, 2) for backend in ("torch", "keras", "flax")
    ]
    chosen = states(template, disc_data, networks=["threshold", "enet"], backends=["numpy"])
    assert list(chosen) == [("threshold", "numpy", 1), ("threshold", "numpy", 2)]


def test_a_cell_that_the_network_or_this_machine_lacks_says_so(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template = template_of(disc_data, tmp_path)
    monkeypatch.setattr(registry.NetworkEntry, "implements", lambda _, backend: backend == "torch")
    monkeypatch.setattr(registry, "missing_modules", lambda _: ("torch",))
    cells = grid.cells_of(
        template, disc_data.meta, networks=["unet"], backends=["torch", "flax"], seeds=[0]
    )
    assert [(cell.state, cell.can_run, cell.reason) for cell in cells] == [
        ("not installed", False, "torch is not installed"),
        ("not implemented", False, "the network has no file for flax"),
    ]


def test_the_lowest_seed_is_done_when_every_plan_is_measured(
    disc_data: Dataset, tmp_path: Path
) -> None:
    tables: dict[str, Any] = {
        "grid": {"networks": ["unet"], "backends": ["torch"], "seeds": [0, 1]},
        "measuring": {"plans": {"torch": ["eager", "openvino-bfloat16"]}},
    }
    template = template_of(disc_data, tmp_path, **tables)
    cells = grid.cells_of(template, disc_data.meta)

    def commit(measured: list[str]) -> dict[tuple[str, str, int], str]:
        for cell in cells:
            record = make_record(template, cell.key, disc_data.meta, status="ok", reason=None)
            found = latencies(template, cell.key, measured) if cell.key.seed == 0 else []
            store.commit(tmp_path, record.model_copy(update={"latency": found}))
        return states(template, disc_data)

    first, second = ("unet", "torch", 0), ("unet", "torch", 1)
    assert states(template, disc_data) == {first: "to do", second: "to do"}
    assert commit([]) == {first: "to measure", second: "done"}
    assert commit(["eager"]) == {first: "to measure", second: "done"}
    assert commit(["eager", "openvino-bfloat16"]) == {first: "done", second: "done"}
    # Without plans the protocol means each backend's default.
    del tables["measuring"]
    assert states(template_of(disc_data, tmp_path, **tables), disc_data)[first] == "done"


def test_a_failed_or_damaged_record_is_failed(disc_data: Dataset, tmp_path: Path) -> None:
    template = template_of(disc_data, tmp_path)
    chosen: dict[str, Any] = {"networks": ["unet"], "backends": ["torch"], "seeds": [0]}
    (cell,) = grid.cells_of(template, disc_data.meta, **chosen)
    record = make_record(template, cell.key, disc_data.meta, status="oom", reason="batch 8.")
    stored = store.commit(tmp_path, record)
    (cell,) = grid.cells_of(template, disc_data.meta, **chosen)
    assert (cell.state, cell.reason) == ("failed", "oom: batch 8.")
    (stored.folder / store.RECORD).write_text("{")
    (cell,) = grid.cells_of(template, disc_data.meta, **chosen)
    assert cell.state == "failed"
    assert "is not strict JSON" in cell.reason


def test_a_figure_that_stays_invalid_counts_as_done(disc_data: Dataset, tmp_path: Path) -> None:
    tables = {"grid": {"networks": ["unet"], "backends": ["torch"], "seeds": [0]}}
    template = template_of(disc_data, tmp_path, **tables)
    (cell,) = grid.cells_of(template, disc_data.meta)
    record = make_record(template, cell.key, disc_data.meta, status="ok", reason=None)
    code = timing_code(cell.key)

    def state(failures: int, code: str) -> str:
        update = {"status": "invalid", "reason": "other masks.", "processes": 0}
        update |= {"failures": failures, "failed_code": code}
        failed = [e.model_copy(update=update) for e in latencies(template, cell.key, ["eager"])]
        store.commit(tmp_path, record.model_copy(update={"latency": failed}))
        (found,) = grid.cells_of(template, disc_data.meta)
        return found.state

    assert state(1, code) == "to measure"
    assert state(2, "other code") == "to measure"
    assert state(2, code) == "done"
