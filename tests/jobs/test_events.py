"""Events: what one process writes the other reads, and a misspelt event is an error."""

from __future__ import annotations

from typing import get_args

import pytest

from harness.jobs import events
from harness.records.schema import CellKey, Condition, PlanAccuracy

CELL = CellKey(
    network="unet",
    backend="torch",
    dataset="discs",
    dataset_hash="a" * 64,
    protocol="tiny",
    protocol_hash="b" * 64,
    seed=0,
)
ACCURACY = PlanAccuracy(
    plan="eager",
    precision="float32",
    status="ok",
    quantity="end_to_end",
    batch=1,
    weights_sha256="c" * 64,
)
CONDITION = Condition(plan="eager", precision="float32", quantity="forward", batch=8)
ALL: tuple[events.Event, ...] = (
    events.GridReady(todo=2, done=1),
    events.WorkerStarted(backend="torch", cells=2),
    events.CellStarted(cell=CELL),
    events.CellBusy(cell=CELL),
    events.StageStarted(stage="train"),
    events.TrainingRestarted(reason="the checkpoint is damaged"),
    events.EpochDone(
        epoch=1,
        epochs=3,
        learning_rate=1e-4,
        train_loss=0.1 + 0.2,
        validation_dice=1 / 3,
        seconds=2.5,
    ),
    events.MeasuringStarted(condition=CONDITION, default=True),
    events.ScoringStarted(entry=ACCURACY),
    events.DeviceBusy(cell=CELL),
    events.StillAtWork(),
    events.CellDone(cell=CELL, status="ok"),
    events.JobStopped(),
    events.JobRefused(reason="two\nlines", exit_code=4),
)


def test_every_event_comes_back_as_it_went() -> None:
    assert {type(event) for event in ALL} == set(get_args(events.Event))
    for event in ALL:
        line = events.to_line(event)
        assert line.count("\n") == 1
        assert events.from_line(line) == event


@pytest.mark.parametrize(
    "line",
    [
        '{"event": "strat", "cell": 1}',
        '{"event": "stage", "stage": "trian"}',
        '{"event": "restart"}',
        '{"event": "restart", "reason": "x", "resaon": "y"}',
        '{"reason": "x"}',
        '{"event": "resta',
        "loading weights ...",
    ],
)
def test_what_is_not_an_event_is_an_error(line: str) -> None:
    with pytest.raises(ValueError, match="validation error"):
        events.from_line(line)
