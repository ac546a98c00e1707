"""`fetalbench run`: train, evaluate and measure the cells of a protocol."""

from __future__ import annotations

from typing import Annotated

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
) -> None:
    """Run all cells that are not done. After Ctrl-C the same command resumes.

    Exit codes: 0 all cells ok, 1 some failed, 2 usage, 3 data, 4 environment, 130 interrupted.
    """
    from harness.cli.cells import run_cells

    run_cells(
        data=data,
        protocol_source=protocol,
        networks=names(networks),
        backends=names(backends),
        seeds=numbers(seeds, "--seeds"),
        results=results,
        device=device,
        force=force,
    )
