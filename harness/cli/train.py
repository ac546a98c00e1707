"""`fetalbench train`: one network's weights, without the rest of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT_DATA, Data, Device, ProtocolName


def train(
    network: Annotated[str, typer.Argument(help="Network, see `fetalbench list`.")],
    out: Annotated[Path, typer.Option("--out", help="Weights file, .safetensors.")],
    backend: Annotated[str, typer.Option("--backend")] = "torch",
    data: Data = DEFAULT_DATA,
    protocol: ProtocolName = "tiny",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Train again from the start.")] = False,
) -> None:
    """Train one network and write its best weights; records stand beside the file in OUT.records.

    An interrupted training goes on from its last epoch when started again.
    """
    from harness import atomic, registry
    from harness.cli.cells import run_cells
    from harness.data.description import read_meta
    from harness.errors import UsageError
    from harness.launch.environment import planned_device
    from harness.measuring.machine import machine
    from harness.plan import plan
    from harness.protocol import load_protocol
    from harness.records import cell_folder

    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: expected a name that ends in .safetensors.")
    if not registry.network(network).implements(registry.backend(backend)):
        raise UsageError(f"network {network!r} has no file for {backend}: see `fetalbench list`.")
    chosen = load_protocol(protocol)
    # Trained here in any case: carrying another backend's weights would train nothing.
    chosen = chosen.with_own_weights()
    results = out.with_suffix(".records")
    found = run_cells(
        data=data,
        protocol_source=protocol,
        protocol=chosen,
        networks=[network],
        backends=[backend],
        seeds=[seed],
        results=results,
        device=device,
        force=force,
        stages=("train",),
    )
    (cell,) = plan(
        chosen,
        read_meta(data),
        results,
        machine(planned_device(device)).name,
        networks=[network],
        backends=[backend],
        seeds=[seed],
    )
    weights = (
        cell_folder(results, machine(planned_device(device)).name, cell.key) / "weights.safetensors"
    )
    if not found:
        raise UsageError(f"{network} on {backend}: another process trains it; wait for it.")
    if found[0].status != "ok":
        raise UsageError(f"{network} on {backend} is {found[0].status}: {found[0].reason}")
    if not weights.exists():
        raise UsageError(f"network {network!r} has no weights to train.")
    atomic.write_bytes(out, weights.read_bytes())
    typer.echo(f"weights: {out}")
