"""Launches: which units wait for which, where a record may lie, what a launched cell has become."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.data.catalogue import Dataset
from harness.errors import RecordError
from harness.jobs.job import RUN_STAGES, Job
from harness.jobs.recording import make_record
from harness.records import store
from harness.records.schema import CellKey, Status
from harness.run import launch, slurm
from harness.run.grid import GridCell
from harness.run.launch import BEFORE_MEASURING, Batch, Launch, Launched, Unit
from tests.run.test_grid import template_of


def cells_of(template: Job, dataset: Dataset, **chosen: Any) -> list[GridCell]:
    asked = {"networks": [], "backends": [], "seeds": []} | chosen
    return launch.cells_anywhere(template, dataset.meta, **asked)


def names(batch: Batch) -> list[tuple[str, int]]:
    return [(unit.cell.backend, unit.cell.seed) for unit in batch.units]


def leave_record(template: Job, key: CellKey, dataset: Dataset, machine: str, status: Status):
    hardware = template.hardware.model_copy(update={"name": machine})
    elsewhere = template.model_copy(update={"hardware": hardware})
    reason = None if status == "ok" else "why"
    record = make_record(elsewhere, key, dataset.meta, status=status, reason=reason)
    store.commit(template.results, record)


def test_measuring_waits_for_its_own_training_and_carried_weights_for_all(
    disc_data: Dataset, tmp_path: Path
) -> None:
    template = template_of(disc_data, tmp_path, training={"weights_from": "torch"})
    cells = cells_of(template, disc_data, networks=["rfbsnet"], seeds=[1, 0])
    made = launch.batches(template, cells, 0)
    assert [(b.measures, b.after, b.each) for b in made] == [
        (False, None, False),
        (True, 0, True),
        (False, 0, False),
        (True, 2, True),
    ]
    # What is measured comes first, so that unit i waits for unit i.
    assert names(made[0]) == [("torch", 0), ("torch", 1)]
    assert names(made[1]) == [("torch", 0)]
    assert names(made[2])[:2] == names(made[3]) == [("keras", 0), ("flax", 0)]
    assert {unit.stages for unit in made[0].units} == {BEFORE_MEASURING}
    assert {unit.stages for unit in made[1].units} == {RUN_STAGES}
    lines = launch.command_lines(template, cells, 0)
    assert [line.partition("--backends ")[2].split()[0] for line in lines[:2]] == ["torch"] * 2
    assert [("--stages" in line) for line in lines] == ["--seeds 1" in line for line in lines]


def test_a_cell_is_done_wherever_it_was_done(disc_data: Dataset, tmp_path: Path) -> None:
    template = template_of(disc_data, tmp_path)
    chosen = {"networks": ["threshold"], "seeds": [0, 1, 2]}
    first, second, third = (cell.key for cell in cells_of(template, disc_data, **chosen))
    leave_record(template, second, disc_data, "node-of-another-kind-8c", "ok")
    leave_record(template, third, disc_data, "some-node-2c", "crashed")
    cells = cells_of(template, disc_data, **chosen)
    assert [cell.state for cell in cells] == ["to do", "done", "failed"]
    due = [cell.key for cell in cells if launch.is_due(template, cell)]
    assert due == [first, third]
    leave_record(template, third, disc_data, "node-of-another-kind-8c", "ok")
    assert cells_of(template, disc_data, **chosen)[2].state == "done"
    found = launch.record_anywhere(template, third)
    assert found is not None
    assert found.status == "ok"


def test_what_became_of_a_launched_cell(disc_data: Dataset, tmp_path: Path) -> None:
    template = template_of(disc_data, tmp_path)
    seeds = list(range(6))
    keys = [cell.key for cell in cells_of(template, disc_data, networks=["threshold"], seeds=seeds)]
    jobs = [Launched(job=f"7_{seed}", cell=keys[seed], stages=BEFORE_MEASURING) for seed in seeds]
    launched = Launch(
        created_at=launch.now(),
        template=template,
        cells=tuple(keys),
        measured_seed=None,
        jobs=tuple(jobs[:5]),
    )
    launch.save(launched)
    leave_record(template, keys[0], disc_data, "node", "ok")
    leave_record(template, keys[1], disc_data, "node", "timeout")
    states = {"7_0": "completed", "7_1": "failed", "7_2": "running", "7_3": "pending"}
    states |= {"7_4": "cancelled"}
    (again,) = launch.load(tmp_path)
    found = launch.standings([again], states)
    assert [one.progress for one in found] == [
        "done", "failed", "running", "pending", "to do", "to do",
    ]  # fmt: skip
    assert found[1].reason == "timeout: why"
    assert found[4].reason == "job 7_4 left no record: cancelled"
    assert found[5].reason == "was not submitted"
    # Without the scheduler, what records say is still known.
    progress = [one.progress for one in launch.standings([again], None)]
    assert progress == ["done", "failed", "unknown", "unknown", "unknown", "unknown"]


def test_a_launch_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    folder = launch.folder_of(tmp_path)
    folder.mkdir(parents=True)
    (folder / "x.json").write_text("{}")
    with pytest.raises(RecordError, match=r"x\.json: is not a launch"):
        launch.load(tmp_path)


def test_force_trains_once_and_the_measuring_that_follows_keeps_it(
    disc_data: Dataset, tmp_path: Path
) -> None:
    template = template_of(disc_data, tmp_path).model_copy(update={"force": True})
    (cell,) = cells_of(template, disc_data, networks=["threshold"], seeds=[0])
    train, measure = launch.batches(template, [cell], 0)
    assert "--force" in launch.command(template, train.units[0])
    assert "--force" not in launch.command(template, measure.units[0])


@pytest.mark.parametrize(
    ("batch", "made", "clause"),
    [
        (Batch(units=()), [], ""),
        (Batch(units=(), after=0), [[("5", 3), ("6", 2)]], "afterany:5:6"),
        (Batch(units=(), after=0, each=True, measures=True), [[("5", 3)]], "aftercorr:5"),
    ],
)
def test_slurm_is_told_who_waits_for_whom(
    batch: Batch, made: list[list[tuple[str, int]]], clause: str
) -> None:
    assert slurm._dependency(batch, made, 0, 2, []) == clause
    if batch.each:
        # Arrays of one task are plain jobs.
        assert slurm._dependency(batch, [[("5", 3)]], 0, 1, []) == "afterok:5_0"
        assert slurm._dependency(batch, [[("5", 1)]], 0, 1, []) == "afterok:5"
    else:
        waits = slurm._dependency(batch, made, 0, 2, ["3_1"])
        assert waits == f"{clause or 'afterany'}:3_1"


def test_a_signal_of_slurm_does_not_reach_the_command(tmp_path: Path) -> None:
    done = tmp_path / "done"
    kill = "import os, signal, pathlib; os.kill(os.getpid(), signal.SIGUSR2)"
    code = f"{kill}; pathlib.Path({str(done)!r}).touch()"
    slurm.NodeCommand([sys.executable, "-c", code])()
    assert done.exists()
    with pytest.raises(RuntimeError, match="exit code 3"):
        slurm.NodeCommand([sys.executable, "-c", "raise SystemExit(3)"])()


def test_a_unit_is_the_command_that_a_user_would_type(disc_data: Dataset, tmp_path: Path) -> None:
    template = template_of(disc_data, tmp_path)
    (cell,) = cells_of(template, disc_data, networks=["threshold"], seeds=[3])
    words = launch.command(template, Unit(cell=cell.key, stages=RUN_STAGES))
    assert words[1:4] == ["-m", "harness.cli", "run"]
    pairs = dict(zip(words[4::2], words[5::2], strict=True))
    assert pairs["--networks"] == "threshold"
    assert (pairs["--backends"], pairs["--seeds"], pairs["--device"]) == ("numpy", "3", "cpu")
