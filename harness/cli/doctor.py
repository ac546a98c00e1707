"""`fetalbench doctor`: what this machine has, what is missing, and the remedy."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from harness.cli.options import AsJson, print_rows
from harness.errors import EXIT_ENVIRONMENT, EnvironmentFault


def doctor(
    deep: Annotated[
        bool, typer.Option("--deep", help="Import each framework in a process of its own.")
    ] = False,
    gpu: Annotated[
        bool, typer.Option("--gpu", help="Fail with exit code 4 if no GPU is visible.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Check Python, frameworks, GPU, memory, disk; exit code 4 if no framework is usable."""
    from harness.doctor import checks
    from harness.jobs.environment import gpu_present

    rows = checks(deep=deep)
    if gpu and not gpu_present():
        raise EnvironmentFault(
            "no GPU is visible here, and this takes days without one: use a GPU box, or force it "
            "with DEVICE=cpu (make) or --device cpu (fetalbench run)."
        )
    print_rows([row.row() for row in rows], as_json=as_json)
    if not any(row.is_framework and row.status == "ok" for row in rows):
        sys.exit(EXIT_ENVIRONMENT)
