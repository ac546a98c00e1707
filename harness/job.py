"""A job: what the parent tells one worker process to do, as strict JSON on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from harness.errors import UsageError
from harness.protocol import Protocol
from harness.record_schema import CellKey

Stage = Literal["train", "evaluate", "measure"]
ALL_STAGES: tuple[Stage, ...] = ("train", "evaluate", "measure")


class Job(BaseModel):
    """Cells of one backend, done one after the other by one process.

    `weights` names a file that takes the place of training. Folders are as the user typed them,
    for the command that repeats a cell. Where `parts` is not 0, the job only measures: it is number
    `part` of the processes whose samples the records gather.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    protocol: Protocol
    protocol_source: str
    dataset: Path
    results: Path
    machine: str
    cells: tuple[CellKey, ...]
    stages: tuple[Stage, ...] = ALL_STAGES
    weights: Path | None = None
    device: Literal["cpu", "cuda"] = "cpu"
    threads: int = 0
    force: bool = False
    part: int = 0
    parts: int = 0

    @property
    def adds(self) -> bool:
        """Whether the job adds samples to records that stand already."""
        return self.parts > 0

    @property
    def backend(self) -> str:
        """The one backend of all cells. Raises `UsageError` where there are several."""
        names = {cell.backend for cell in self.cells}
        if len(names) != 1:
            raise UsageError(f"a process serves one framework, the job asks for {sorted(names)}.")
        return names.pop()

    def command(self, cell: CellKey) -> str:
        """What a user types to repeat one cell."""
        words = ["fetalbench run", f"--data {_shown(self.dataset)}"]
        words += [f"--protocol {_shown(Path(self.protocol_source))}"]
        words += [f"--networks {cell.network}"]
        words += [f"--backends {cell.backend}", f"--seeds {cell.seed}", "--force"]
        return " ".join(words)


def _shown(folder: Path) -> str:
    # An absolute path tells who ran it, and where; the name is enough to repeat it.
    return folder.name if folder.is_absolute() else folder.as_posix()
