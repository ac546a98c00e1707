"""Where the weights of a cell come from: a file, another backend's cell, or training."""

from __future__ import annotations

from backends.contract import Network
from backends.errors import Unsupported
from backends.weights import digest, read_weights, starting_values, to_bytes
from harness import registry
from harness.data.preparation import prepare
from harness.errors import FetalbenchError
from harness.jobs import events
from harness.protocol import TrainingSettings
from harness.records import store
from harness.records.schema import CellKey, Training
from harness.worker.checkpoint import checkpoint_of
from harness.worker.state import Outcome, Worker
from harness.worker.training import TrainingData, TrainingResult, split_validation, train


def find_weights(worker: Worker, cell: CellKey, network: Network, outcome: Outcome) -> None:
    """Load given weights, carry another backend's, or train."""
    job = worker.job
    donor = job.protocol.training_of(cell.network).weights_from
    if job.weights is not None:
        network.set_weights(read_weights(job.weights, network.weight_specs()))
        outcome.notes.append(f"weights from {job.weights.name}")
    elif donor not in ("own", cell.backend) and registry.network(cell.network).implements(donor):
        _carry(worker, cell, donor, network, outcome)
    else:
        card = registry.network(cell.network).card
        network.set_weights(starting_values(network, cell.seed, card.he_normal))
        if "train" in job.stages:
            _train(worker, cell, network, outcome)
        else:
            outcome.notes.append("untrained: starting weights")


def restore(worker: Worker, cell: CellKey) -> Network:
    """The network as its record has it, in a process that has not trained it."""
    network = worker.build(cell)
    if not network.weight_specs():
        return network
    stored = worker.stored(cell)
    training, path = stored.record.training, stored.folder / store.WEIGHTS
    if training is not None and store.WEIGHTS in stored.record.files and path.exists():
        network.set_weights(read_weights(path, network.weight_specs(), training.weights_sha256))
    else:
        find_weights(worker, cell, network, Outcome())
    return network


def training_data(worker: Worker, cell: CellKey) -> tuple[TrainingData, str]:
    """The slices to train on and to validate with, and a note about how they were split."""
    dataset, protocol = worker.dataset, worker.job.protocol
    note = ""
    rows = dataset.rows("train")
    if "val" in dataset.meta.sets:
        validation = dataset.rows("val")
    else:
        settings = protocol.training_of(cell.network)
        chosen, note = split_validation(rows, settings, cell.seed)
        rows, validation = rows[~chosen], rows[chosen]
    fitting = protocol.input.model_dump(exclude={"classes"})
    images, masks = prepare(dataset, rows, **fitting)
    validation_images, validation_masks = prepare(dataset, validation, **fitting)
    data = TrainingData(
        images=images,
        masks=masks,
        validation_images=validation_images,
        validation_masks=validation_masks,
    )
    return data, note


def _carry(worker: Worker, cell: CellKey, donor: str, network: Network, outcome: Outcome) -> None:
    stored = worker.find(cell.model_copy(update={"backend": donor}))
    if stored is None or stored.record.status != "ok" or stored.record.training is None:
        state = "missing" if stored is None else stored.record.status
        raise FetalbenchError(
            f"its weights come from the {donor} cell, which is {state}: run that first."
        )
    training = stored.record.training
    path = stored.folder / store.WEIGHTS
    network.set_weights(read_weights(path, network.weight_specs(), training.weights_sha256))
    outcome.training = training
    outcome.notes.append(f"weights trained by the {donor} cell and carried over")


def _train(worker: Worker, cell: CellKey, network: Network, outcome: Outcome) -> None:
    if not worker.backend.capabilities.trains:
        raise Unsupported(f"{worker.backend.title} does not train: name weights with --weights.")
    worker.report(events.StageStarted(stage="train"))
    settings = worker.job.protocol.training_of(cell.network)
    data, note = training_data(worker, cell)
    if note:
        outcome.notes.append(note)
    result = train(
        network,
        data,
        settings,
        seed=cell.seed,
        checkpoints=checkpoint_of(worker.job, cell),
        report=worker.report,
        learner=_at_window_size(worker, cell, settings.window),
    )
    if result.note:
        outcome.notes.append(result.note)
    deterministic = worker.job.deterministic
    outcome.training = _as_recorded(result, data, cell, settings, deterministic=deterministic)
    outcome.tables[store.HISTORY] = result.history
    outcome.blobs[store.WEIGHTS] = to_bytes(result.weights)


def _at_window_size(worker: Worker, cell: CellKey, window: int) -> Network | None:
    """The cell's network at the size of the windows that it trains on; None for whole slices."""
    if not window:
        return None
    classes = worker.job.protocol.input.classes
    return registry.build(
        worker.backend, cell.network, height=window, width=window, classes=classes
    )


def _as_recorded(
    result: TrainingResult,
    data: TrainingData,
    cell: CellKey,
    settings: TrainingSettings,
    *,
    deterministic: bool,
) -> Training:
    return Training(
        weights_from=cell.backend,
        loss=settings.loss,
        precision=settings.precision,
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
        deterministic=deterministic,
    )
