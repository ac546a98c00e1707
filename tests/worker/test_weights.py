"""Where weights come from: per-network settings, and whose checkpoint is resumed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from backends.contract import Runtime
from harness import registry
from harness.data.catalogue import Dataset
from harness.jobs.job import Job
from harness.measuring.machine import machine
from harness.measuring.memory import ImportBaseline, Meter
from harness.protocol import parse_protocol
from harness.records import store
from harness.records.provenance import source_digest
from harness.run import grid
from harness.worker import checkpoint
from harness.worker.checkpoint import checkpoint_of
from harness.worker.state import Worker
from harness.worker.weights import training_data
from tests.contract import fakes

TABLES = {"name": "x", "input": {"height": 64, "width": 64}, "training": {"validation_share": 0.2}}


def job_of(dataset: Dataset, results: Path, tables: dict[str, Any] = TABLES, **more: Any) -> Job:
    protocol = parse_protocol(tables, "x.toml")
    template = Job(
        protocol=protocol,
        protocol_source="x",
        dataset=dataset.folder,
        results=results,
        hardware=machine(),
        **more,
    )
    (cell,) = grid.cells_of(template, dataset.meta, networks=["unet"], backends=["torch"])
    return template.with_cells([cell.key])


def test_a_networks_own_validation_settings_hold(disc_data: Dataset, tmp_path: Path) -> None:
    tables = TABLES | {"networks": {"unet": {"validation_share": 0.6}}}
    for chosen, slices in ((TABLES, 10), (tables, 30)):
        job = job_of(disc_data, tmp_path, chosen)
        backend = fakes.FakeBackend(Runtime())
        worker = Worker(
            job=job,
            backend=backend,
            dataset=disc_data,
            meter=Meter(backend, ImportBaseline(), "cpu"),
            report=lambda _: None,
        )
        # Of five training subjects with ten slices each.
        data, _ = training_data(worker, job.cells[0])
        assert len(data.validation_images) == slices


def identity(job: Job) -> dict[str, Any]:
    return checkpoint_of(job, job.cells[0]).identity


def test_a_checkpoint_is_not_resumed_under_other_code_or_versions(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(disc_data, tmp_path)
    before = identity(job)
    assert identity(job) == before
    with monkeypatch.context() as patch:
        patch.setattr(registry, "framework_versions", lambda _: {"torch": "0.1"})
        assert identity(job) != before
    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "fetalbench_version", lambda: "0.0.1")
        assert identity(job) != before
    edited = tmp_path / "backends"
    edited.mkdir()
    (edited / "torch_layers.py").write_text("EPSILON = 1\n")
    with monkeypatch.context() as patch:
        patch.setattr(registry, "BACKENDS_FOLDER", edited)
        assert identity(job) != before
    assert identity(job) == before


def test_the_digest_of_sources_sees_every_edit(tmp_path: Path) -> None:
    file = tmp_path / "net" / "torch_net.py"
    file.parent.mkdir()
    file.write_text("a = 1\n")
    seen = {source_digest([file.parent])}
    file.write_text("a = 2\n")
    seen.add(source_digest([file.parent]))
    file.rename(file.with_name("keras_net.py"))
    seen.add(source_digest([file.parent]))
    (file.parent / "more.py").touch()
    seen.add(source_digest([file.parent]))
    assert len(seen) == 4
    (file.parent / "notes.txt").touch()
    assert source_digest([file.parent]) in seen


def test_force_trains_from_the_start_once_for_each_record(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, forced = (job_of(disc_data, tmp_path, force=force) for force in (False, True))
    first = identity(forced)
    # A leftover of a run without --force is not resumed; its own is, after an interruption.
    assert first != identity(plain)
    assert identity(forced) == first
    record = type("Stored", (), {"record": type("Record", (), {"created_at": "2026-01-01"})})
    monkeypatch.setattr(store, "find_record", lambda *_: record)
    assert identity(forced) != first
