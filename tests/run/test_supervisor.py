"""What becomes of a cell whose worker dies while it scores a plan."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from harness.jobs import events
from harness.jobs.job import Job
from harness.jobs.recording import make_record
from harness.measuring.machine import machine
from harness.protocol import parse_protocol
from harness.records import store
from harness.records.schema import Latency, PlanAccuracy
from harness.run import grid, runner, supervisor
from harness.run.watch import WorkerView


def test_a_scoring_that_takes_too_long_costs_no_timing(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    protocol = parse_protocol({"name": "x", "input": {"height": 64, "width": 64}}, "x")
    template = Job(
        protocol=protocol,
        protocol_source="x",
        dataset=disc_data.folder,
        results=tmp_path,
        hardware=machine(),
        stages=("measure",),
        weights=tmp_path / "net.safetensors",
        weights_sha256="a",
    )
    (cell,) = grid.cells_of(template, disc_data.meta, networks=["unet"], backends=["torch"])
    job = template.with_cells([cell.key])
    latency = [
        Latency(plan="eager", precision="float32", quantity=quantity, batch=1, profile="quick",
                status="ok", processes=1)
        for quantity in ("forward", "end_to_end")
    ]  # fmt: skip
    record = make_record(job, cell.key, disc_data.meta, status="ok", reason=None)
    store.commit(tmp_path, record.model_copy(update={"latency": latency}))
    entry = PlanAccuracy(
        plan="eager",
        precision="float32",
        status="ok",
        quantity="end_to_end",
        batch=1,
        weights_sha256="a",
    )
    view = WorkerView()
    for event in (events.CellStarted(cell=cell.key), events.ScoringStarted(entry=entry)):
        view.take(event)
    view.ended_by = ("timeout", "took more than 900 s")
    monkeypatch.setattr(supervisor, "_run_worker", lambda *_: view)
    supervisor.run_jobs([job], lambda _: None)

    found = runner.record_of(template, cell.key)
    assert found is not None
    assert (found.status, [one.status for one in found.latency]) == ("ok", ["ok", "ok"])
    (lost,) = found.accuracy
    assert (lost.status, lost.reason, lost.sets) == ("timeout", "took more than 900 s", {})
    # The next run tries it again, and times nothing.
    (plan,) = template.execution_plans("torch")
    assert grid.scoring_is_due(template, found, plan)
    assert grid.missing_parts(template, found, plan) == []
    assert found.files == {}
