"""`fetalbench measure`: latency and memory of one network, without training it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, get_args

import typer

from harness.cli.options import DEFAULT_DATA, Data, Device, ProtocolName


def measure(
    network: Annotated[str, typer.Argument(help="Network, see `fetalbench list`.")],
    backend: Annotated[str, typer.Option("--backend")] = "torch",
    plan: Annotated[
        str, typer.Option("--plan", help="Comma-separated execution plans; default: one.")
    ] = "",
    batch: Annotated[str, typer.Option("--batch", help="Comma-separated batch sizes.")] = "1",
    profile: Annotated[str, typer.Option("--profile", help="quick, publish or mlperf.")] = "quick",
    size: Annotated[
        str, typer.Option("--size", help="HEIGHTxWIDTH; default: the protocol's.")
    ] = "",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Default: starting weights.")
    ] = None,
    data: Data = DEFAULT_DATA,
    protocol: ProtocolName = "tiny",
    results: Annotated[
        Path, typer.Option("--results", help="Folder for the record and raw samples.")
    ] = Path("measurements"),
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Measure again.")] = False,
) -> None:
    """Time one network in a process of its own and print every summary; raw samples are kept."""
    from harness import registry
    from harness.cli.cells import run_cells
    from harness.cli.options import names, numbers, print_rows
    from harness.errors import UsageError
    from harness.protocol import Measuring, load_protocol

    chosen = load_protocol(protocol)
    known = get_args(Measuring.model_fields["profile"].annotation)
    if profile not in known:
        raise UsageError(f"--profile {profile!r}: expected one of {', '.join(known)}.")
    entry, name = registry.network(network), registry.backend(backend)
    registry.require_implementation(entry, name)
    measuring = {
        "profile": profile,
        "batches": tuple(numbers(batch, "--batch")),
        "plans": {name: tuple(names(plan))} if plan else {},
    }
    records = run_cells(
        data=data,
        protocol_source=protocol,
        protocol=chosen.with_measuring(measuring, size),
        networks=[entry.name],
        backends=[name],
        seeds=[0],
        results=results,
        device=device,
        force=force,
        stages=("measure",),
        weights=weights,
    )
    for record in records:
        print_rows([entry.model_dump() for entry in record.latency], as_json=False)
