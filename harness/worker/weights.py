"""Where the weights of a cell come from: a file, another backend's cell, or training."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from backends.contract import Backend, Network, WeightSpec
from backends.errors import Unsupported
from backends.weights import digest, initial_values, read_weights, to_bytes
from harness import registry
from harness.data.catalogue import Dataset
from harness.data.preparation import prepare
from harness.errors import FetalbenchError
from harness.jobs.job import Job
from harness.measuring.entries import WEIGHTS
from harness.protocol import Training as Settings
from harness.records import store as records
from harness.records.provenance import fetalbench_version, source_digest
from harness.records.schema import CellKey, Training
from harness.worker.checkpoint import CheckpointFile
from harness.worker.training import TrainingData, TrainingResult, split_validation, train

Report = Callable[[dict[str, Any]], None]


@dataclass
class Outcome:
    """What a cell has found so far; it goes into the record also when a later part fails."""

    fields: dict[str, Any] = field(default_factory=dict)
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    blobs: dict[str, bytes] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    specs: tuple[WeightSpec, ...] = ()


def checkpoint_of(job: Job, cell: CellKey) -> CheckpointFile:
    """The checkpoint of a cell's training; there is none before its first epoch.

    It is taken up by the same cell, device, thread count and code alone. A forced job trains from
    the start, once for each record that it replaces: interrupted and given again, it goes on from
    its own checkpoint, since no record has come between.
    """
    folder = records.work_folder(job.results, job.machine, cell)
    identity: list[Any] = [cell.model_dump(), job.device, job.threads, _code(cell)]
    if job.force:
        stored = records.find_usable(job.results, job.machine, cell)
        identity.append(["forced", stored.record.created_at if stored else None])
    return CheckpointFile(folder / "checkpoint.safetensors", json.dumps(identity, sort_keys=True))


def _code(cell: CellKey) -> list[Any]:
    """What trains the cell: versions, and a digest of the network, the backends and the loop."""
    root = Path(__file__).parents[1]
    sources = [registry.network(cell.network).folder, registry.BACKENDS_FOLDER, root / "data"]
    sources += [
        root / name
        for name in (
            "worker/training.py",
            "worker/masks.py",
            "worker/checkpoint.py",
            "worker/weights.py",
        )
    ]
    versions = registry.framework_versions(cell.backend)
    return [fetalbench_version(), versions, source_digest(sources)]


def find_weights(
    job: Job,
    cell: CellKey,
    backend: Backend,
    network: Network,
    dataset: Dataset,
    outcome: Outcome,
    report: Report,
) -> None:
    """Load given weights, carry another backend's, or train."""
    settings = job.protocol.training_of(cell.network)
    donor = settings.weights_from
    entry = registry.network(cell.network)
    if job.weights is not None:
        network.set_weights(read_weights(job.weights, network.weight_specs()))
        outcome.notes.append(f"weights from {job.weights.name}")
    elif donor not in ("own", cell.backend) and entry.implements(donor):
        _carry(job, cell, donor, network, outcome)
    elif "train" in job.stages:
        if not backend.capabilities.trains:
            raise Unsupported(f"{backend.title} does not train: name weights with --weights.")
        report({"event": "stage", "stage": "train"})
        card = entry.card
        network.set_weights(initial_values(network.weight_specs(), cell.seed, card.he_normal))
        data, note = _training_data(job, dataset, settings, cell.seed)
        if note:
            outcome.notes.append(note)
        result = train(
            network,
            data,
            settings,
            seed=cell.seed,
            checkpoints=checkpoint_of(job, cell),
            report=report,
            learner=_at_window_size(job, cell, backend, settings.window),
        )
        if result.note:
            outcome.notes.append(result.note)
        _note_training(result, data, cell, settings.loss, outcome)
    else:
        card = entry.card
        network.set_weights(initial_values(network.weight_specs(), cell.seed, card.he_normal))
        outcome.notes.append("untrained: starting weights")


def _at_window_size(job: Job, cell: CellKey, backend: Backend, window: int) -> Network | None:
    """The cell's network at the size of the windows that it trains on; None for whole slices."""
    if not window:
        return None
    classes = job.protocol.input.classes
    return registry.build(backend, cell.network, height=window, width=window, classes=classes)


def _carry(job: Job, cell: CellKey, donor: str, network: Network, outcome: Outcome) -> None:
    key = cell.model_copy(update={"backend": donor})
    stored = records.find_record(job.results, job.machine, key)
    if stored is None or stored.record.status != "ok" or stored.record.training is None:
        state = "missing" if stored is None else stored.record.status
        raise FetalbenchError(
            f"its weights come from the {donor} cell, which is {state}: run that first."
        )
    training = stored.record.training
    path = stored.folder / WEIGHTS
    network.set_weights(read_weights(path, network.weight_specs(), training.weights_sha256))
    outcome.fields["training"] = training
    outcome.notes.append(f"weights trained by the {donor} cell and carried over")


def _training_data(
    job: Job, dataset: Dataset, settings: Settings, seed: int
) -> tuple[TrainingData, str]:
    note = ""
    rows = dataset.rows("train")
    if "val" in dataset.meta.sets:
        validation = dataset.rows("val")
    else:
        chosen, note = split_validation(rows, settings, seed)
        rows, validation = rows[~chosen], rows[chosen]
    fitting = job.protocol.input.model_dump(exclude={"classes"})
    images, masks = prepare(dataset, rows, **fitting)
    validation_images, validation_masks = prepare(dataset, validation, **fitting)
    data = TrainingData(
        images=images,
        masks=masks,
        validation_images=validation_images,
        validation_masks=validation_masks,
    )
    return data, note


def _note_training(
    result: TrainingResult, data: TrainingData, cell: CellKey, loss: str, outcome: Outcome
) -> None:
    outcome.fields["training"] = Training(
        weights_from=cell.backend,
        loss=loss,
        epochs=len(result.history),
        steps=result.steps,
        best_epoch=result.best_epoch,
        best_validation_dice=result.best_validation_dice,
        train_slices=len(data.images),
        validation_slices=len(data.validation_images),
        seconds=result.seconds,
        images_per_second=result.images_per_second,
        weights_sha256=digest(result.weights),
        resumed_from_epoch=result.resumed_from_epoch,
    )
    outcome.tables["history.parquet"] = result.history
    outcome.blobs[WEIGHTS] = to_bytes(result.weights)
