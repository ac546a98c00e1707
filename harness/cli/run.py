"""`fetalbench run`: train, evaluate and measure the cells of a protocol."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import typer

from harness.cli.options import (
    DEFAULT_DATA,
    DEFAULT_RESULTS,
    Backends,
    Data,
    Device,
    Networks,
    ProtocolName,
    Results,
    Seeds,
    names,
    numbers,
)


def run(
    data: Data = DEFAULT_DATA,
    protocol: ProtocolName = "tiny",
    networks: Networks = "",
    backends: Backends = "",
    seeds: Seeds = "",
    results: Results = DEFAULT_RESULTS,
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Run finished cells again.")] = False,
    stages: Annotated[
        str, typer.Option("--stages", help="Some of train,evaluate,measure; default: all.")
    ] = "",
    jobs: Annotated[
        str, typer.Option("--jobs", help="Trainings at a time: a number, or auto.")
    ] = "1",
    track: Annotated[
        str, typer.Option("--track", help="Curves for some of tensorboard,mlflow,wandb, too.")
    ] = "",
    launch: Annotated[
        Literal["slurm", "print"] | None,
        typer.Option("--launch", help="Elsewhere: as Slurm jobs, or as commands on stdout."),
    ] = None,
    partition: Annotated[str | None, typer.Option("--partition", help="Slurm: its name.")] = None,
    gpus: Annotated[int, typer.Option("--gpus", min=0, help="Slurm: GPUs per job.")] = 0,
    cpus: Annotated[int, typer.Option("--cpus", min=1, help="Slurm: cores per job.")] = 4,
    memory_gb: Annotated[
        float | None, typer.Option("--memory-gb", min=0.1, help="Slurm: memory per job.")
    ] = None,
    time: Annotated[
        str, typer.Option("--time", help="Slurm: limit per job; default: a cell's and a bit.")
    ] = "",
    exclusive: Annotated[
        bool, typer.Option("--exclusive/--shared", help="Slurm: nodes of jobs that measure.")
    ] = True,
    slurm: Annotated[
        list[str] | None, typer.Option("--slurm", help="Slurm: NAME=VALUE of sbatch, repeatable.")
    ] = None,
) -> None:
    """Run all cells that are not done. After Ctrl-C the same command resumes.

    Exit codes: 0 all cells ok, 1 some failed, 2 usage, 3 data, 4 environment, 130 interrupted.
    """
    from harness.cli import cells

    chosen: dict[str, Any] = {"networks": names(networks), "backends": names(backends)}
    chosen["seeds"] = numbers(seeds, "--seeds")
    if launch is None:
        cells.run_cells(
            data=data,
            protocol_source=protocol,
            results=results,
            device=device,
            force=force,
            stages=cells.stages_of(stages),
            at_once=jobs,
            track=names(track),
            **chosen,
        )
        return
    from harness.cli import launching
    from harness.errors import UsageError
    from harness.protocol import load_protocol
    from harness.run.slurm import Request

    for option, given in (("--stages", stages), ("--track", track), ("--jobs", jobs != "1")):
        if given:
            raise UsageError(f"{option} is for a run on this machine: leave it out with --launch.")
    settings = load_protocol(protocol)
    limit = settings.limits.cell_seconds / 60 + launching.SPARE_MINUTES
    request = Request(
        partition=partition,
        gpus=gpus,
        cpus=cpus,
        memory_gb=memory_gb,
        minutes=launching.minutes(time) if time else round(limit),
        exclusive=exclusive,
        more=launching.pairs(slurm or ()),
    )
    template, meta = cells.prepare(
        data=data,
        protocol_source=protocol,
        results=results,
        device=launching.choose_device(device, gpus, settings),
        force=force,
    )
    launching.launch_cells(launch, template, meta, request, **chosen)
