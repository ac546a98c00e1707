"""The test sets are scored under each plan, by the query that is timed, whatever it answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from backends.contract import Array, Inference, Runtime
from backends.plans import PLANS as PLANS_OF
from backends.weights import digest
from harness.data.catalogue import Dataset
from harness.data.preparation import prepare
from harness.jobs import events
from harness.jobs.events import Event
from harness.jobs.job import Job
from harness.jobs.recording import make_record
from harness.measuring.accuracy import set_scores
from harness.measuring.machine import machine
from harness.measuring.memory import ImportBaseline, Meter
from harness.protocol import parse_protocol
from harness.records import store
from harness.records.schema import Latency, PlanAccuracy
from harness.records.store import StoredRecord
from harness.run import grid
from harness.worker.calibration import calibrate
from harness.worker.plan_accuracy import score_plans
from harness.worker.state import Worker
from tests.contract import fakes

PLANS = {"eager": "float32", "eager-bfloat16": "bfloat16", "openvino": "float32"}
TABLES: dict[str, Any] = {
    "name": "x",
    "input": {"height": 64, "width": 64},
    "measuring": {"plans": {"torch": list(PLANS)}, "batches": [3], "quantities": ["end_to_end"]},
}


class Shifting(fakes.FakeInference):
    """Masks one pixel to the right of what they should be."""

    def answer(self) -> Array:
        return np.roll(super().answer(), 1, axis=2)


class Fake(fakes.FakeNetwork):
    """Right in `eager`, shifted in bfloat16, without memory in OpenVINO."""

    classes = 2

    def __init__(self) -> None:
        super().__init__(fakes.FakeInference, 64, 64)
        self.batches: list[int] = []

    def prepare(self, images: Array, *, plan: str, quantity: str) -> Inference:
        self.batches.append(len(images))
        if plan == "openvino":
            raise RuntimeError("bad_alloc")
        kind = Shifting if plan == "eager-bfloat16" else fakes.FakeInference
        return kind(images, quantity)


def begin(dataset: Dataset, folder: Path, *, weights: bool = True) -> tuple[Worker, list[Event]]:
    """A worker whose record has every plan timed and nothing scored."""
    template = Job(
        protocol=parse_protocol(TABLES, "x.toml"),
        protocol_source="x",
        dataset=dataset.folder,
        results=folder,
        hardware=machine(),
        stages=("measure",),
        weights=folder / "net.safetensors" if weights else None,
    )
    (cell,) = grid.cells_of(template, dataset.meta, networks=["unet"], backends=["torch"])
    job = template.with_cells([cell.key])
    latency = [
        Latency(plan=plan, precision=own, quantity="end_to_end", batch=3, profile="quick",
                status="ok", processes=1)
        for plan, own in PLANS.items()
    ]  # fmt: skip
    record = make_record(job, cell.key, dataset.meta, status="ok", reason=None)
    store.commit(folder, record.model_copy(update={"latency": latency}))
    heard: list[Event] = []
    backend = fakes.FakeBackend(Runtime())
    worker = Worker(
        job=job,
        backend=backend,
        dataset=dataset,
        meter=Meter(backend, ImportBaseline(), "cpu"),
        report=heard.append,
    )
    return worker, heard


def entries(stored: StoredRecord) -> dict[str, PlanAccuracy]:
    return {entry.plan: entry for entry in stored.record.accuracy}


def test_each_plan_has_its_own_dice_and_what_it_changes(disc_data: Dataset, tmp_path: Path) -> None:
    worker, heard = begin(disc_data, tmp_path)
    (cell,) = worker.job.cells
    network = Fake()
    score_plans(worker, cell, network)
    stored = worker.stored(cell)
    found = entries(stored)
    assert {plan: entry.status for plan, entry in found.items()} == {
        "eager": "ok",
        "eager-bfloat16": "ok",
        "openvino": "oom",
    }
    assert "bad_alloc" in (found["openvino"].reason or "")
    # The batch that is timed, though twenty slices are not a multiple of three.
    assert set(network.batches) == {3}
    right, shifted = found["eager"].sets["normal"], found["eager-bfloat16"].sets["normal"]
    assert (right.slices, right.subjects) == (20, 2)
    assert (right.difference, right.changed_share) == (0, 0)
    assert right.difference_reason == "the scores are identical for every subject"
    assert shifted.difference < 0 < shifted.changed_share < 1
    assert shifted.reference_dice == right.dice
    assert shifted.difference_low is not None
    # No scores of its own: it was not evaluated, and stands in no ranking.
    assert stored.record.scores == {}
    heard_plans = [event.entry.plan for event in heard if isinstance(event, events.ScoringStarted)]
    assert heard_plans == list(PLANS)


def test_the_figures_are_those_of_the_rows_beside_the_record(
    disc_data: Dataset, tmp_path: Path
) -> None:
    worker, _ = begin(disc_data, tmp_path)
    (cell,) = worker.job.cells
    score_plans(worker, cell, Fake())
    stored = worker.stored(cell)
    rows = stored.plan_slices()
    assert rows.groupby("plan").size().to_dict() == {"eager": 40, "eager-bfloat16": 40}
    own = rows[rows["plan"] == "eager-bfloat16"]
    assert set_scores(own, stored.slices()) == entries(stored)["eager-bfloat16"].sets
    # Scored from its masks: by hand for one slice.
    row = own.iloc[7]
    dataset = worker.dataset
    image, truth = (a(row["stack"])[row["slice"]] for a in (dataset.images, dataset.masks))
    normalised = (image - image.mean()) / image.std()
    mask = np.roll(normalised > 0, 1, axis=1)
    assert row["predicted_pixels"] == mask.sum()
    assert row["dice"] == pytest.approx(2 * (mask & (truth > 0)).sum() / (mask.sum() + truth.sum()))
    assert row["changed_pixels"] == (mask != (normalised > 0)).sum()


def test_what_is_scored_is_not_scored_again_but_with_other_weights(
    disc_data: Dataset, tmp_path: Path
) -> None:
    worker, heard = begin(disc_data, tmp_path)
    (cell,) = worker.job.cells
    score_plans(worker, cell, Fake())
    heard.clear()
    score_plans(worker, cell, Fake())
    assert heard == []

    class Other(Fake):
        def weights(self) -> dict[str, Array]:
            return {"head.kernel": np.zeros((1, 1, 1, 2), np.float32)}

        def exact(self):
            return lambda images: fakes.logits_of(np.roll(images, 1, axis=2).astype(np.float64))

    score_plans(worker, cell, Other())
    found = entries(worker.stored(cell))
    assert {entry.weights_sha256 for entry in found.values()} == {digest(Other().weights())}
    # Against the reference of these weights, which is the shifted one.
    assert found["eager-bfloat16"].sets["normal"].changed_share == 0
    assert found["eager"].sets["normal"].changed_share > 0
    assert len(worker.stored(cell).plan_slices()) == 80


def test_without_weights_it_says_that_nothing_was_scored(
    disc_data: Dataset, tmp_path: Path
) -> None:
    worker, heard = begin(disc_data, tmp_path, weights=False)
    (cell,) = worker.job.cells
    score_plans(worker, cell, Fake())
    record = worker.stored(cell).record
    assert (record.accuracy, heard) == ([], [])
    (note,) = record.notes
    assert note.startswith("the accuracy of the plans was not scored: these are starting weights")


def test_without_a_test_set_each_plan_says_so(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, _ = begin(disc_data, tmp_path)
    (cell,) = worker.job.cells
    monkeypatch.delitem(worker.dataset.meta.sets, "normal")
    monkeypatch.delitem(worker.dataset.meta.sets, "challenging")
    score_plans(worker, cell, Fake())
    found = entries(worker.stored(cell))
    assert {entry.status for entry in found.values()} == {"unsupported"}
    assert "has no slice in any of" in (found["eager"].reason or "")


def test_an_evaluated_record_is_the_reference(disc_data: Dataset, tmp_path: Path) -> None:
    worker, _ = begin(disc_data, tmp_path)
    (cell,) = worker.job.cells
    score_plans(worker, cell, Fake())
    stored = worker.stored(cell)
    # As if evaluated before: its masks are all background.
    predictions = stored.predictions()
    nothing = np.packbits(np.zeros(64 * 64, bool)).tobytes()
    changed = stored.record.model_copy(update={"accuracy": stored.record.accuracy[:1]})
    tables: dict[str, pd.DataFrame] = {store.PREDICTIONS: predictions.assign(mask=nothing)}
    store.commit(tmp_path, changed, tables, keep=stored)
    score_plans(worker, cell, Fake())
    shifted = entries(worker.stored(cell))["eager-bfloat16"].sets["normal"]
    assert shifted.changed_share == pytest.approx(0.5, abs=0.1)


class Calibrated(Fake):
    """Keeps what it is calibrated on."""

    seen: Array | None = None

    def calibrate(self, images: Array) -> None:
        self.seen = images


def test_integers_are_calibrated_on_training_slices_drawn_with_the_seed(
    disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker, _ = begin(disc_data, tmp_path)
    offered = PLANS_OF["torch"]
    integers = [plan for plan in offered if plan.key == "openvino-int8"]
    timed = np.zeros((40, 64, 64, 1), np.float32)
    network = Calibrated()
    assert calibrate(worker, network, offered[:1], 0, timed) is None
    assert network.seen is None
    drawn = []
    for seed in (0, 0, 1):
        note = calibrate(worker, network, integers, seed, timed)
        assert note == (
            f"plans in int8 were calibrated on 32 training slices, drawn with seed {seed}."
        )
        drawn.append(network.seen)
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    training, _ = prepare(
        disc_data,
        disc_data.rows("train"),
        **worker.job.protocol.input.model_dump(exclude={"classes"}),
    )
    known = {image.tobytes() for image in training}
    assert {image.tobytes() for image in drawn[0]} <= known
    monkeypatch.delitem(worker.dataset.meta.sets, "train")
    note = calibrate(worker, network, integers, 0, timed)
    assert "on the timed slices" in (note or "")
    assert network.seen is not None
    assert not network.seen.any()
