"""`fetalbench doctor`: what this machine has, what is missing, and the remedy."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.cli.options import AsJson, names, print_rows
from harness.errors import EXIT_ENVIRONMENT, EnvironmentFault


def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Import each framework in a process of its own.")
    ] = False,
    gpu: Annotated[
        bool,
        typer.Option(
            "--gpu", help="Compute on the GPU with each framework; exit code 4 otherwise."
        ),
    ] = False,
    backends: Annotated[
        str, typer.Option("--backends", help="Of --gpu: comma-separated; default: all frameworks.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Check Python, frameworks, GPU, memory, disk; exit code 4 if no framework is usable."""
    from harness import registry
    from harness.doctor import checks, gpu_faults
    from harness.jobs.environment import gpu_present

    rows = checks(deep=deep)
    if gpu and not gpu_present():
        raise EnvironmentFault(
            "no GPU is visible here, and this takes days without one: use a GPU box, or force it "
            "with DEVICE=cpu (make) or --device cpu (fetalbench run)."
        )
    if gpu:
        faults = gpu_faults([registry.backend(name) for name in names(backends)])
        if faults:
            raise EnvironmentFault(f"not every framework computes on the GPU here: {faults}")
    print_rows([row.row() for row in rows], as_json=as_json)
    if not any(row.is_framework and row.status == "ok" for row in rows):
        sys.exit(EXIT_ENVIRONMENT)
