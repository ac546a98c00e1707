"""`fetalbench run --launch`: cells for other machines, as Slurm jobs or as lines of shell."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from math import ceil
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import typer

from harness.errors import EnvironmentFault, UsageError
from harness.jobs.environment import DeviceChoice
from harness.jobs.job import Device, Job
from harness.protocol import Protocol
from harness.records import shared
from harness.records.schema import CellKey
from harness.run import grid, launch, slurm
from harness.run.grid import GridCell
from harness.run.launch import Launch, Standing
from harness.run.slurm import Request

if TYPE_CHECKING:
    from harness.data.description import DatasetMeta

Launcher = Literal["slurm", "print"]
# Beyond a cell's own limit: to start, and to be told that time is up.
SPARE_MINUTES = 15
_TIME = re.compile(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?")


def minutes(text: str) -> int:
    """Minutes of a time as Slurm writes it (`90`, `1:30:00`, `2-12`). Raises `UsageError`."""
    found = _TIME.fullmatch(text.strip())
    if found is None:
        raise UsageError(f"--time {text!r}: expected minutes, HOURS:MIN:SEC or DAYS-HOURS:MIN:SEC.")
    days, *parts = (int(part) if part else 0 for part in found.groups())
    given = [part is not None for part in found.groups()]
    first, second, third = parts
    if given[0]:
        total = days * 1440 + first * 60 + second + third / 60
    elif given[3]:
        total = first * 60 + second + third / 60
    else:
        total = first + second / 60
    return max(1, ceil(total))


def pairs(words: Sequence[str]) -> dict[str, str]:
    """`account=x` → {"account": "x"}. Raises `UsageError`."""
    found = {}
    for word in words:
        name, sign, value = word.partition("=")
        name = name.removeprefix("--")
        if not sign or not re.fullmatch(r"[a-z][a-z-]*", name):
            raise UsageError(f"--slurm {word!r}: expected NAME=VALUE such as account=neuro.")
        found[name] = value
    return found


def choose_device(choice: DeviceChoice, gpus: int, protocol: Protocol) -> Device:
    """The device of a node, which this machine need not have. Raises `UsageError`."""
    if choice == "cpu" and gpus:
        raise UsageError("--device cpu and --gpus contradict each other: leave one out.")
    if choice == "cuda" or gpus:
        return "cuda"
    if choice == "auto" and protocol.limits.requires_gpu:
        raise UsageError(
            f"protocol {protocol.name!r} is meant for a GPU: ask for one with --gpus 1, or force "
            "it with --device cpu."
        )
    return "cpu"


def launch_cells(
    launcher: Launcher,
    template: Job,
    meta: DatasetMeta,
    request: Request,
    **chosen: Sequence[Any],
) -> None:
    """Print the commands of the due cells, or submit them and say so."""
    cells = launch.cells_anywhere(template, meta, **chosen)
    seed = grid.measured_seed([cell.key.seed for cell in cells])
    due = [cell for cell in cells if launch.is_due(template, cell)]
    if launcher == "print":
        _print(template, due, seed)
        return
    _submit(template, cells, due, seed, request)


def _print(template: Job, due: Sequence[GridCell], seed: int | None) -> None:
    for line in launch.command_lines(template, due, seed):
        typer.echo(line)
    own = sum(launch.donor(template, cell.key) is None for cell in due)
    notes = [f"{len(due)} cells to do."]
    if 0 < own < len(due):
        notes.append(f"Lines after the first {own} take weights that those have trained.")
    if any(cell.key.seed == seed for cell in due):
        notes.append(f"Lines of seed {seed} measure: give each a node to itself.")
    typer.echo(f"fetalbench: {' '.join(notes)}", err=True)


def _submit(
    template: Job,
    cells: Sequence[GridCell],
    due: Sequence[GridCell],
    seed: int | None,
    request: Request,
) -> None:
    slurm.require()
    states = slurm.queue()
    if states is None:
        raise EnvironmentFault("Slurm does not answer (squeue): is this one of its login nodes?")
    before = launch.load(template.results)
    standings = launch.standings(before, states)
    queued = {one.cell: one.job for one in standings if one.progress in ("running", "pending")}
    left = [cell for cell in due if cell.key not in queued]
    line = f"{len(cells)} cells: {len(cells) - len(due)} done, {len(due) - len(left)} in the queue"
    if left:
        template.results.mkdir(parents=True, exist_ok=True)
        if doubt := shared.doubt(template.results):
            typer.echo(f"fetalbench: {template.results}: {doubt} (docs/cluster.md).", err=True)
        made = Launch(
            created_at=launch.now(),
            template=template,
            cells=tuple(cell.key for cell in cells),
            measured_seed=seed,
        )
        plan = launch.batches(template, left, seed)
        made = slurm.submit(made, plan, request, queued)
        arrays = ", ".join(dict.fromkeys(job.job.partition("_")[0] for job in made.jobs))
        line += f", {len(left)} submitted as jobs {arrays}"
    typer.echo(f"fetalbench: {line}. `fetalbench status` tells how it goes.", err=True)


def look(results: Path) -> list[Standing]:
    """What became of every cell launched into `results`. Raises `UsageError` if none was."""
    launches = launch.load(results)
    if not launches:
        raise UsageError(
            f"{results}: nothing was launched from here; `fetalbench run --launch slurm` does, "
            "`fetalbench plan` tells of a run on this machine."
        )
    return launch.standings(launches, slurm.queue())


def counted(standings: Sequence[Standing]) -> str:
    """`10 done, 2 running`."""
    counts = Counter(one.progress for one in standings)
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def templates(results: Path) -> dict[CellKey, Job]:
    """The run that each launched cell belongs to."""
    return {cell: one.template for one in launch.load(results) for cell in one.cells}
