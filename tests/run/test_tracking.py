"""Trackers get the curves of a training; without being asked for none is imported."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from harness.data.catalogue import Dataset
from harness.errors import EnvironmentFault, UsageError
from harness.jobs import events
from harness.jobs.job import Job
from harness.records.schema import CellKey
from harness.run import tracking
from harness.run.tracking import CURVES, Kind, Tracking, folder_of
from tests.conftest import ROOT
from tests.run.test_grid import template_of

LOSSES = [0.9, 0.5, 0.25]


def cell_of(template: Job, dataset: Dataset, seed: int = 0) -> CellKey:
    return CellKey(
        network="rfbsnet",
        backend="torch",
        dataset="discs",
        dataset_hash=dataset.meta.hash,
        protocol="x",
        protocol_hash=template.protocol.hash,
        seed=seed,
    )


def epoch(number: int, loss: float) -> events.EpochDone:
    return events.EpochDone(
        epoch=number,
        epochs=len(LOSSES),
        learning_rate=1e-3,
        train_loss=loss,
        validation_dice=1 - loss,
        seconds=0.5,
    )


def run(kind: Kind, template: Job, cell: CellKey) -> None:
    """Three epochs of one cell, reported as a worker does."""
    tracking.require(kind)
    passed: list[events.Event] = []
    with Tracking(kind, template, passed.append, pytest.fail) as report:
        report(events.CellStarted(cell=cell))
        for number, loss in enumerate(LOSSES, start=1):
            report(epoch(number, loss))
        report(events.CellDone(cell=cell, status="ok"))
    assert len(passed) == len(LOSSES) + 2


def installed(module: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(find_spec(module) is None, reason=f"{module} is not installed")


@installed("tensorboard")
def test_tensorboard_draws_the_curves(disc_data: Dataset, tmp_path: Path) -> None:
    template = template_of(disc_data, tmp_path)
    run("tensorboard", template, cell_of(template, disc_data))
    (file,) = folder_of(tmp_path).rglob("events.out.tfevents.*")
    assert file.parent.name == "rfbsnet-torch-seed-0"
    # In a process of its own, in which its reader cannot import TensorFlow.
    code = f"""
import json, sys
sys.modules["tensorflow"] = None
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.util.tensor_util import make_ndarray
found = [
    (value.tag, event.step, float(make_ndarray(value.tensor)))
    for event in EventFileLoader({str(file)!r}).Load() for value in event.summary.value
]
print(json.dumps(found))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True
    )
    points = json.loads(done.stdout.splitlines()[-1])
    assert {tag for tag, _, _ in points} == {*CURVES}
    losses = [(step, value) for tag, step, value in points if tag == "train_loss"]
    assert losses == [(1, pytest.approx(0.9)), (2, 0.5), (3, 0.25)]


@installed("mlflow")
def test_mlflow_keeps_a_run_in_its_database(disc_data: Dataset, tmp_path: Path) -> None:
    template = template_of(disc_data, tmp_path)
    code = f"""
from tests.run import test_tracking as here
from harness.jobs.job import Job
from harness.records.schema import CellKey
template = Job.model_validate_json({template.model_dump_json()!r})
cell = CellKey.model_validate_json({cell_of(template, disc_data).model_dump_json()!r})
here.run("mlflow", template, cell)
from mlflow.tracking import MlflowClient
import json, sys
client = MlflowClient("sqlite:///" + str(here.folder_of(template.results) / "mlflow.db"))
(experiment,) = [e for e in client.search_experiments() if e.name != "Default"]
(run,) = client.search_runs([experiment.experiment_id])
points = [(p.step, p.value) for p in client.get_metric_history(run.info.run_id, "train_loss")]
frameworks = [name for name in ("torch", "tensorflow", "jax") if name in sys.modules]
print(json.dumps([run.info.status, run.data.tags["network"], points, frameworks]))
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    status, network, points, frameworks = json.loads(done.stdout.splitlines()[-1])
    assert (status, network) == ("FINISHED", "rfbsnet")
    assert points == [[1, 0.9], [2, 0.5], [3, 0.25]]
    assert frameworks == []


class Broken(tracking.Tracker):
    def __init__(self, *_: Any) -> None:
        raise OSError("disk full\nand more")

    log = end = None  # type: ignore[assignment]


def test_a_tracker_that_fails_is_named_once_and_ends_nothing(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tracking._TRACKERS, "mlflow", Broken)
    template = template_of(disc_data, tmp_path)
    said: list[str] = []
    passed: list[events.Event] = []
    with Tracking("mlflow", template, passed.append, said.append) as report:
        report(events.CellStarted(cell=cell_of(template, disc_data)))
        for number, loss in enumerate(LOSSES, start=1):
            report(epoch(number, loss))
    assert said == ["mlflow takes nothing more (disk full); the run continues."]
    assert len(passed) == len(LOSSES) + 1


def test_what_is_missing_is_named_with_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="did you mean 'mlflow'"):
        tracking.kinds(["mlflo"])
    absent: Callable[[str], None] = lambda _: None  # noqa: E731
    monkeypatch.setattr(tracking, "find_spec", absent)
    with pytest.raises(EnvironmentFault, match=r"pip install 'fetalbench\[wandb\]'"):
        tracking.kinds(["wandb"])


def test_a_run_that_does_not_ask_imports_none_of_them() -> None:
    names = ("tensorboard", "mlflow", "wandb", "submitit")
    code = f"""
import sys
import harness.cli.cells, harness.cli.launching, harness.run.slurm, harness.run.tracking
import harness.worker.cells
print(sorted(set(sys.modules) & set({names!r})))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
