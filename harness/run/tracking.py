"""Training curves for other programs: TensorBoard, MLflow, Weights & Biases, if asked for.

The parent feeds them from the workers' events; no worker imports any of them, and neither does a
run that does not ask. They get copies: records remain the truth, and a tracker that fails is left
out with a sentence. All of it stays on this machine, below `results/.work/tracking/`; what they
would report to their makers is turned off before their import.
"""

from __future__ import annotations

import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from typing_extensions import override

from harness.errors import EnvironmentFault, unknown
from harness.jobs import events
from harness.jobs.events import Event, Report
from harness.jobs.job import Job
from harness.records import store
from harness.records.schema import CellKey

Kind = Literal["tensorboard", "mlflow", "wandb"]
KINDS: tuple[Kind, ...] = ("tensorboard", "mlflow", "wandb")
# Module that must be there, and the variables that keep it to itself.
NEEDS: dict[Kind, tuple[str, dict[str, str]]] = {
    "tensorboard": ("tensorboard", {}),
    "mlflow": ("mlflow", {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true"}),
    "wandb": (
        "wandb",
        {"WANDB_MODE": "offline", "WANDB_ERROR_REPORTING": "false", "WANDB_SILENT": "true"},
    ),
}
CURVES = ("train_loss", "validation_dice", "learning_rate", "seconds")


class Tracker(ABC):
    """One cell's training in one program."""

    @abstractmethod
    def log(self, values: Mapping[str, float], step: int) -> None:
        """Add a point to each curve."""

    @abstractmethod
    def end(self, *, ok: bool) -> None:
        """The cell is done, or the run ends."""


class Tracking:
    """A `Report` that passes every event on and keeps the curves of trainings (a context manager).

    Events of one cell come in one thread, so each thread has its own current cell.
    """

    def __init__(
        self, kind: Kind, template: Job, report: Report, warn: Callable[[str], None]
    ) -> None:
        self._kind: Kind = kind
        self._template, self._report, self._warn = template, report, warn
        self._open: dict[CellKey, Tracker] = {}
        self._now = threading.local()
        self._lock = threading.Lock()
        self._broken = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for cell in list(self._open):
            self._try(self._end, cell, False)

    def __call__(self, event: Event) -> None:
        """Pass the event on, then take what it tells."""
        self._report(event)
        match event:
            case events.CellStarted():
                self._now.cell = event.cell
            case events.EpochDone():
                self._try(self._epoch, self._now.cell, event)
            case events.CellDone():
                self._try(self._end, event.cell, event.status == "ok")
            case _:
                pass

    def _try(self, do: Callable[..., None], *words: Any) -> None:
        """Never does a tracker's error end a run."""
        if self._broken:
            return
        try:
            with self._lock:
                do(*words)
        except Exception as error:
            self._broken = True
            lines = str(error).strip().splitlines() or [type(error).__name__]
            self._warn(f"{self._kind} takes nothing more ({lines[0]}); the run continues.")

    def _epoch(self, cell: CellKey, event: events.EpochDone) -> None:
        if cell not in self._open:
            self._open[cell] = _TRACKERS[self._kind](folder_of(self._template.results), cell)
        values = {name: float(getattr(event, name)) for name in CURVES}
        self._open[cell].log(values, event.epoch)

    def _end(self, cell: CellKey, ok: bool) -> None:
        tracker = self._open.pop(cell, None)
        if tracker is None:
            return
        stored = store.find_usable(self._template.results, self._template.machine, cell)
        if ok and stored is not None and stored.record.training is not None:
            scores = stored.record.scores.items()
            values = {f"test_dice/{name}": one.dice for name, one in scores}
            tracker.log(values, stored.record.training.epochs)
        tracker.end(ok=ok)


def folder_of(results: Path) -> Path:
    """Where trackers write."""
    return results.absolute() / store.WORK / "tracking"


def require(kind: Kind) -> None:
    """Turn its reporting off. Raises `EnvironmentFault` if the tracker is not installed."""
    module, quiet = NEEDS[kind]
    if find_spec(module) is None:
        raise EnvironmentFault(f"--track {kind} needs it: pip install 'fetalbench[{kind}]'.")
    os.environ.update(quiet)


def _name(cell: CellKey) -> str:
    return f"{cell.network}-{cell.backend}-seed-{cell.seed}"


def _group(cell: CellKey) -> str:
    return f"{cell.dataset}-{cell.dataset_hash[:8]}-{cell.protocol}-{cell.protocol_hash[:8]}"


class _TensorBoard(Tracker):
    """An event file per start; TensorBoard draws those of one folder as one run."""

    def __init__(self, folder: Path, cell: CellKey) -> None:
        # Not `tensorboard.summary`, which imports TensorFlow if it can.
        from tensorboard.summary.writer.event_file_writer import EventFileWriter

        place = folder / "tensorboard" / _group(cell) / _name(cell)
        self._writer = EventFileWriter(str(place))

    @override
    def log(self, values: Mapping[str, float], step: int) -> None:
        from tensorboard.compat.proto import event_pb2, summary_pb2

        # Made at their import from a description, which a type checker cannot read.
        summary: Any = summary_pb2
        event: Any = event_pb2
        points = [
            summary.Summary.Value(tag=name, simple_value=value) for name, value in values.items()
        ]
        self._writer.add_event(
            event.Event(wall_time=time.time(), step=step, summary=summary.Summary(value=points))
        )
        self._writer.flush()

    @override
    def end(self, *, ok: bool) -> None:
        self._writer.close()


class _MLflow(Tracker):
    """A run per start, in an SQLite database."""

    def __init__(self, folder: Path, cell: CellKey) -> None:
        # An extra of its own, which not every environment of a developer has.
        from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

        folder.mkdir(parents=True, exist_ok=True)
        self._client = MlflowClient(f"sqlite:///{folder / 'mlflow.db'}")
        group = _group(cell)
        found = self._client.get_experiment_by_name(group)
        experiment = (
            found.experiment_id
            if found
            else self._client.create_experiment(group, (folder / "mlflow").as_uri())
        )
        tags = {"network": cell.network, "backend": cell.backend, "seed": str(cell.seed)}
        run = self._client.create_run(experiment, run_name=_name(cell), tags=tags)
        self._run = run.info.run_id

    @override
    def log(self, values: Mapping[str, float], step: int) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    @override
    def end(self, *, ok: bool) -> None:
        self._client.set_terminated(self._run, "FINISHED" if ok else "FAILED")


class _WandB(Tracker):
    """A run per start, kept offline; `wandb sync` would upload it."""

    def __init__(self, folder: Path, cell: CellKey) -> None:
        # Not among what the tests install.
        import wandb  # pyright: ignore[reportMissingImports]

        folder.mkdir(parents=True, exist_ok=True)
        # Its defaults name the user's host, command line and repository.
        quiet = wandb.Settings(
            console="off", disable_code=True, disable_git=True, x_disable_meta=True,
            x_disable_stats=True, host="", program="",
        )  # fmt: skip
        self._run = wandb.init(
            project="fetalbench",
            name=_name(cell),
            group=_group(cell),
            config=cell.model_dump(),
            dir=folder,
            mode="offline",
            reinit="create_new",
            settings=quiet,
        )

    @override
    def log(self, values: Mapping[str, float], step: int) -> None:
        self._run.log(dict(values), step=step)

    @override
    def end(self, *, ok: bool) -> None:
        self._run.finish(exit_code=0 if ok else 1)


_TRACKERS: dict[Kind, Callable[[Path, CellKey], Tracker]] = {
    "tensorboard": _TensorBoard,
    "mlflow": _MLflow,
    "wandb": _WandB,
}


def kinds(names: Sequence[str]) -> list[Kind]:
    """The trackers of that name, each once and ready. Raises `UsageError`, `EnvironmentFault`."""
    for name in names:
        if name not in NEEDS:
            raise unknown("tracker", name, NEEDS)
    chosen: list[Kind] = [kind for kind in KINDS if kind in names]
    for kind in chosen:
        require(kind)
    return chosen
