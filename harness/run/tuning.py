"""Learning rates by successive halving on validation Dice, with the same budget for each network.

A trial is a cell that is only trained: it has a record, resumes from its checkpoint, and is found
done when the search is started again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from harness.data.description import DatasetMeta
from harness.errors import DataError, UsageError
from harness.jobs import events
from harness.jobs.events import Report
from harness.jobs.job import Job
from harness.protocol import Protocol, parse_protocol
from harness.records import atomic, store
from harness.records.schema import CellKey, Record
from harness.run.protocol_text import as_toml
from harness.run.supervisor import run_jobs

# These are what a rate is worth; anything else is tried again.
SETTLED = ("ok", "diverged")
# At the last rung as many rates are left.
FINALISTS = 2


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is tried of which networks; `template` is a job without cells, in the trials' folder.

    `epochs` are those of the last rung. One `seed` for all: weights, shuffling, split.
    """

    template: Job
    dataset: DatasetMeta
    networks: tuple[str, ...]
    backend: str
    rates: tuple[float, ...]
    epochs: int
    seed: int


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One network trained at one rate for so many epochs; no Dice if that did not end well."""

    network: str
    rate: float
    epochs: int
    record: Record

    @property
    def dice(self) -> float | None:
        """The best validation Dice."""
        training = self.record.training
        return training.best_validation_dice if self.record.status == "ok" and training else None


@dataclass(frozen=True, kw_only=True)
class Result:
    """All trials, rung by rung, and the best rate of each network: None if no trial ended well."""

    trials: tuple[Trial, ...]
    chosen: dict[str, Trial | None]
    trained: int  # trials of this very search, beside those that were done before


def rungs(count: int, epochs: int) -> list[tuple[int, int]]:
    """(rates, epochs) of each rung: rates are halved and epochs doubled, the last has `epochs`."""
    counts = [count]
    while counts[-1] > FINALISTS:
        counts.append(ceil(counts[-1] / 2))
    last = len(counts) - 1
    return [(n, max(1, round(epochs / 2 ** (last - i)))) for i, n in enumerate(counts)]


def require_validation(dataset: DatasetMeta, protocol: Protocol, networks: Sequence[str]) -> None:
    """Raise `DataError` unless rates can be judged on subjects that were not trained on."""
    if "train" not in dataset.sets:
        raise DataError(
            f"data set {dataset.name!r} has no training set: import it again with "
            "--split SUBJECTS=train."
        )
    by_slice = [n for n in networks if protocol.training_of(n).validation_by == "slice"]
    if "val" in dataset.sets or (dataset.sets["train"].subjects > 1 and not by_slice):
        return
    why = "validation_by is 'slice'" if by_slice else "its training set has one subject"
    raise DataError(
        f"data set {dataset.name!r} has no validation set, and none can be split off by subject "
        f"({why}): import it again with --split SUBJECTS=val, or with --split-ratio 0.7/0.15/0.15."
    )


def search(wanted: Search, report: Report) -> Result:
    """Train what has not been trained, rung by rung. Raises `Interrupted` or `Faulty`."""
    alive = {name: sorted(wanted.rates) for name in wanted.networks}
    trials: list[Trial] = []
    chosen: dict[str, Trial | None] = {}
    trained = 0
    for count, epochs in rungs(len(wanted.rates), wanted.epochs):
        alive = {name: rates[:count] for name, rates in alive.items()}
        trained += _train(wanted, alive, epochs, report)
        for name, rates in alive.items():
            found = [_trial(wanted, name, rate, epochs) for rate in sorted(rates)]
            trials += found
            # Of equal rates the lower: it was good without going as far.
            ranked = sorted((t for t in found if t.dice is not None), key=lambda t: -(t.dice or 0))
            chosen[name] = ranked[0] if ranked else None
            alive[name] = [trial.rate for trial in ranked]
    return Result(trials=tuple(trials), chosen=chosen, trained=trained)


def _train(wanted: Search, alive: dict[str, list[float]], epochs: int, report: Report) -> int:
    """Train one rung: a process for each rate, with all networks that are still tried at it."""
    jobs, settled = [], 0
    for rate in sorted(wanted.rates):
        job = _job(wanted, rate, epochs)
        keys = [_key(wanted, name, job.protocol) for name, own in alive.items() if rate in own]
        due = [key for key in keys if not _is_settled(job, key)]
        settled += len(keys) - len(due)
        if due:
            jobs.append(job.with_cells(due, stages=("train",)))
    todo = sum(len(job.cells) for job in jobs)
    report(events.GridReady(todo=todo, done=settled, what="trials"))
    run_jobs(jobs, report)
    return todo


def _job(wanted: Search, rate: float, epochs: int) -> Job:
    """The template under the trial's protocol, whose file makes the record's command true."""
    protocol = trial_protocol(wanted.template.protocol, rate, epochs)
    path = wanted.template.results / f"lr-{rate:g}-epochs-{epochs}.toml"
    text = as_toml(protocol, {})
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        atomic.write_bytes(path, text.encode())
    return wanted.template.model_copy(update={"protocol": protocol, "protocol_source": str(path)})


def trial_protocol(protocol: Protocol, rate: float, epochs: int) -> Protocol:
    """The protocol with that rate and those epochs for every network, each trained by itself."""
    fixed = {"learning_rate": rate, "epochs": epochs, "weights_from": "own"}
    data: dict[str, Any] = protocol.model_dump()
    data["training"] |= fixed
    data["networks"] = {
        name: own
        for name, given in protocol.networks.items()
        if (own := {key: value for key, value in given.items() if key not in fixed})
    }
    data["limits"] |= {"share_process": True}
    return parse_protocol(data, protocol.name)


def _key(wanted: Search, network: str, protocol: Protocol) -> CellKey:
    return CellKey(
        network=network,
        backend=wanted.backend,
        dataset=wanted.dataset.name,
        dataset_hash=wanted.dataset.hash,
        protocol=protocol.name,
        protocol_hash=protocol.hash,
        seed=wanted.seed,
    )


def _is_settled(job: Job, key: CellKey) -> bool:
    stored = store.find_usable(job.results, job.machine, key)
    return stored is not None and stored.record.status in SETTLED


def _trial(wanted: Search, network: str, rate: float, epochs: int) -> Trial:
    protocol = trial_protocol(wanted.template.protocol, rate, epochs)
    key = _key(wanted, network, protocol)
    stored = store.find_usable(wanted.template.results, wanted.template.machine, key)
    if stored is None:
        raise UsageError(f"{network}: another process is trying rate {rate:g}; start again later.")
    return Trial(network=network, rate=rate, epochs=epochs, record=stored.record)


def folder_of(out: Path) -> Path:
    """Where the trials of the protocol file `out` stand."""
    return out.with_suffix(".trials")
