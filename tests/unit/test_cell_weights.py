"""Where weights come from: per-network settings, whose checkpoint is taken up, files refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from harness import registry
from harness.data.catalogue import Dataset
from harness.jobs.job import Job
from harness.measuring.machine import machine
from harness.protocol import Training, parse_protocol
from harness.records import store as records
from harness.records.provenance import source_digest
from harness.run.grid import plan
from harness.worker import weights as cell_weights
from harness.worker.training import TrainingData
from harness.worker.weights import Outcome, checkpoint_of, find_weights

TABLES = {"name": "x", "input": {"height": 64, "width": 64}, "training": {"validation_share": 0.2}}


def job_of(dataset: Dataset, results: Path, tables: dict[str, Any] = TABLES, **more: Any) -> Job:
    protocol = parse_protocol(tables, "x.toml")
    (cell,) = plan(
        protocol, dataset.meta, results, machine().name, networks=["unet"], backends=["torch"]
    )
    return Job(
        protocol=protocol,
        protocol_source="x",
        dataset=dataset.folder,
        results=results,
        hardware=machine(),
        cells=(cell.key,),
        **more,
    )


class Caught(Exception):
    """Ends a training before it begins, with what it would have begun with."""

    def __init__(self, data: TrainingData, settings: Training) -> None:
        self.data, self.settings = data, settings


def test_a_networks_own_validation_settings_hold(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def caught(_network: Any, data: TrainingData, settings: Training, **_: Any) -> None:
        raise Caught(data, settings)

    class Anything:
        title, capabilities = "Anything", type("Can", (), {"trains": True})

        def weight_specs(self) -> tuple[()]:
            return ()

        def set_weights(self, _: Any) -> None: ...

    monkeypatch.setattr(cell_weights, "train", caught)
    tables = TABLES | {"networks": {"unet": {"validation_share": 0.6}}}
    job = job_of(disc_data, tmp_path, tables)
    thing = cast(Any, Anything())
    with pytest.raises(Caught) as found:
        find_weights(job, job.cells[0], thing, thing, disc_data, Outcome(), lambda _: None)
    # Three of five training subjects, ten slices each; one of five without the override.
    assert len(found.value.data.validation_images) == 30
    assert found.value.settings.validation_share == 0.6


def identity(job: Job) -> str:
    return checkpoint_of(job, job.cells[0]).identity


def test_a_checkpoint_is_not_taken_up_under_other_code_or_versions(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = job_of(disc_data, tmp_path)
    before = identity(job)
    assert identity(job) == before
    with monkeypatch.context() as patch:
        patch.setattr(registry, "framework_versions", lambda _: {"torch": "0.1"})
        assert identity(job) != before
    with monkeypatch.context() as patch:
        patch.setattr(cell_weights, "fetalbench_version", lambda: "0.0.1")
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
    # A leftover of a run without --force is not taken up; its own is, after an interruption.
    assert first != identity(plain)
    assert identity(forced) == first
    record = type("Stored", (), {"record": type("Record", (), {"created_at": "2026-01-01"})})
    monkeypatch.setattr(records, "find_record", lambda *_: record)
    assert identity(forced) != first
