"""`fetalbench evaluate`: score given weights on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT_DATA, Data, Device, ProtocolName


def evaluate(
    network: Annotated[str, typer.Argument(help="Network, see `fetalbench list`.")],
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights file; omit it for `threshold`.")
    ] = None,
    backend: Annotated[str, typer.Option("--backend", help="Default: torch, or numpy.")] = "",
    data: Data = DEFAULT_DATA,
    protocol: ProtocolName = "tiny",
    results: Annotated[
        Path, typer.Option("--results", help="Folder for the record and raw scores.")
    ] = Path("evaluations"),
    device: Device = "auto",
) -> None:
    """Segment and score the test sets, slice by slice, with weights of any backend."""
    from harness import registry
    from harness.cli.cells import run_cells
    from harness.errors import UsageError

    entry = registry.network(network)
    backend = registry.backend(backend or ("numpy" if entry.implements("numpy") else "torch"))
    registry.require_implementation(entry, backend)
    if weights is None and backend != "numpy":
        raise UsageError(
            f"network {entry.name!r} needs --weights FILE; `fetalbench train` makes one."
        )
    run_cells(
        data=data,
        protocol_source=protocol,
        networks=[entry.name],
        backends=[backend],
        seeds=[0],
        results=results,
        device=device,
        force=True,
        stages=("evaluate",),
        weights=weights,
    )
