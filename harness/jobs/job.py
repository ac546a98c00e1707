"""A job: what the parent tells one worker process to do, as strict JSON on disk."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from backends import plans
from backends.plans import PLANS, Plan
from harness.errors import UsageError
from harness.protocol import Protocol
from harness.records.schema import CellKey, Machine

Stage = Literal["train", "evaluate", "measure", "stream"]
Device = Literal["cpu", "cuda"]
RUN_STAGES: tuple[Stage, ...] = ("train", "evaluate", "measure")


class StreamSettings(BaseModel):
    """A deadline test (`harness.measuring.stream`); an empty plan is the backend's default."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    preset: str
    plan: str = ""
    slices: int = 100
    deadline_ms: float | None = None
    seed: int = 0


class Job(BaseModel):
    """Cells of one backend, done one after the other by one process.

    Without cells it is the template of a run: all that its jobs share. The command line makes it.

    `weights` names a file that takes the place of training, `weights_sha256` is the digest of its
    values. Folders are as the user typed them,
    for the command that repeats a cell. `hardware` is the machine as the parent sees it: a worker
    that is pinned to fewer cores must file its record in the same place. With `measured_seed` only
    cells of that seed are timed, since latency does not depend on the weights. `plan` restricts
    measuring to one execution plan, None means the protocol's; `part` is the number of this process
    among the `parts` whose samples the records gather. Of jobs that do not measure, `at_once` may
    run at a time. `typed` are data set and results folder as the user typed them, if the fields are
    not.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Protocol
    protocol_source: str
    dataset: Path
    results: Path
    hardware: Machine
    cells: tuple[CellKey, ...] = ()
    stages: tuple[Stage, ...] = RUN_STAGES
    weights: Path | None = None
    weights_sha256: str | None = None
    device: Device = "cpu"
    force: bool = False
    measured_seed: int | None = None
    plan: str | None = None
    part: int = 0
    parts: int = 1
    stream: StreamSettings | None = None
    at_once: int = 1
    typed: tuple[Path, Path] | None = None

    def anchored(self) -> Job:
        """The same with absolute folders, for a process whose network may change its folder."""
        update = {"dataset": self.dataset.absolute(), "results": self.results.absolute()}
        return self.model_copy(update={**update, "typed": (self.dataset, self.results)})

    @property
    def machine(self) -> str:
        """Name of the folder below results/."""
        return self.hardware.name

    @property
    def backend(self) -> str:
        """The one backend of all cells. Raises `UsageError` if there are several."""
        names = {cell.backend for cell in self.cells}
        if len(names) != 1:
            raise UsageError(f"a process serves one framework, the job asks for {sorted(names)}.")
        return names.pop()

    @property
    def threads(self) -> int:
        """Threads of each framework; 0 means one per usable core."""
        return self.protocol.measuring.threads

    def with_cells(
        self,
        cells: Sequence[CellKey],
        *,
        stages: tuple[Stage, ...] | None = None,
        measured_seed: int | None = None,
    ) -> Job:
        """The same for those cells, with all stages or some."""
        update = {"cells": tuple(cells), "measured_seed": measured_seed}
        return self.model_copy(update=update | {"stages": stages or self.stages})

    def timing_only(self, cell: CellKey, plan: Plan, part: int, parts: int) -> Job:
        """The same for process number `part` that measures one plan of one cell."""
        update = {"cells": (cell,), "stages": ("measure",), "plan": plan.key}
        return self.model_copy(update=update | {"part": part, "parts": parts})

    def execution_plans(self, backend: str) -> list[Plan]:
        """The execution plans to measure; the protocol may name none, which means the default."""
        keys = self.protocol.measuring.plans.get(backend, ())
        keys = (self.plan,) if self.plan is not None else keys
        return plans.chosen(keys, PLANS[backend], self.device)

    @property
    def deterministic(self) -> bool:
        """Whether the process keeps to deterministic operations: it trains or evaluates.

        One that only measures is free to take the fastest, as a user's program would.
        """
        return bool({"train", "evaluate"} & set(self.stages))

    @property
    def shares_process(self) -> bool:
        """Whether one process serves several cells, and times what it has trained.

        Never on a GPU: determinism, once asked for, stays in force in a process.
        """
        return self.protocol.limits.share_process and self.device == "cpu"

    def measures(self, cell: CellKey) -> bool:
        """Whether this job times the cell."""
        return "measure" in self.stages and self.measured_seed in (None, cell.seed)

    def command(self, cell: CellKey) -> str:
        """What a user types to repeat one cell. An absolute path tells who ran it: its end only."""
        dataset, results = self.typed or (self.dataset, self.results)
        words = ["fetalbench", *self._verb(cell), "--data", _shown(dataset)]
        words += ["--protocol", _shown(Path(self.protocol_source)), "--device", self.device]
        if self.stages != ("train",) and results != Path("results"):
            words += ["--results", _shown(results)]
        if self.stages not in (("evaluate",), ("stream",)):
            words += ["--force"]
        return shlex.join(words)

    def _verb(self, cell: CellKey) -> list[str]:
        weights = ["--weights", _shown(self.weights)] if self.weights else []
        one = [cell.network, "--backend", cell.backend]
        settings = self.protocol.measuring
        size = ["--size", f"{self.protocol.input.height}x{self.protocol.input.width}"]
        match self.stages:
            case ("train",):
                out = f"{cell.network}.safetensors"
                return ["train", *one, "--seed", str(cell.seed), "--out", out]
            case ("evaluate",):
                return ["evaluate", *one, *weights]
            case ("measure",):
                batches = ",".join(map(str, settings.batches))
                keys = settings.plans.get(cell.backend, ())
                chosen = ["--plan", ",".join(keys)] if keys else []
                quantities = ["--quantity", ",".join(settings.quantities)]
                chosen += ["--batch", batches, "--profile", settings.profile, *quantities]
                return ["measure", *one, *chosen, *size, *weights]
            case ("stream",):
                assert self.stream is not None
                chosen = ["--plan", self.stream.plan] if self.stream.plan else []
                chosen += ["--preset", self.stream.preset, "--slices", str(self.stream.slices)]
                return ["stream", *one, *chosen, *size, *weights]
        run = ["run", "--networks", cell.network, "--backends", cell.backend]
        return [*run, "--seeds", str(cell.seed)]


def _shown(folder: Path) -> str:
    return folder.name if folder.is_absolute() else folder.as_posix()
