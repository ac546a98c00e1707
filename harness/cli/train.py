"""`fetalbench train`: one network's weights, without the rest of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT_DATA, LARGEST_NUMBER, Data, Device, ProtocolName


def train(
    network: Annotated[str, typer.Argument(help="Network, see `fetalbench list`.")],
    out: Annotated[Path, typer.Option("--out", help="Weights file, .safetensors.")],
    backend: Annotated[str, typer.Option("--backend")] = "torch",
    data: Data = DEFAULT_DATA,
    protocol: ProtocolName = "tiny",
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST_NUMBER)] = 0,
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Train again from the start.")] = False,
) -> None:
    """Train one network and write its best weights; its record is beside them, in OUT.records.

    After an interruption the same command resumes from the last epoch. --force trains a finished
    network again from the start. Exit codes: 0 trained, 1 failed, 2 usage, 3 data, 4 environment,
    130 interrupted.
    """
    from harness import registry
    from harness.cli.cells import run_cells
    from harness.errors import CellFailed, UsageError
    from harness.jobs.environment import planned_device
    from harness.measuring.machine import machine
    from harness.protocol import load_protocol
    from harness.records import atomic
    from harness.records.store import WEIGHTS, StoredRecord, cell_folder

    if out.suffix != ".safetensors":
        raise UsageError(f"--out {out}: expected a name that ends in .safetensors.")
    entry, framework = registry.network(network), registry.backend(backend)
    registry.require_implementation(entry, framework)
    results = out.with_suffix(".records")
    found = run_cells(
        data=data,
        protocol_source=protocol,
        # Always trained here: with weights carried over from another backend nothing would be.
        protocol=load_protocol(protocol).with_own_weights(),
        networks=[entry.name],
        backends=[framework],
        seeds=[seed],
        results=results,
        device=device,
        force=force,
        stages=("train",),
    )
    if not found:
        raise CellFailed(f"{entry.name} × {framework}: another process is training it.")
    (record,) = found
    if record.status != "ok":
        raise CellFailed(f"{entry.name} × {framework} is {record.status}: {record.reason}")
    folder = cell_folder(results, machine(planned_device(device)).name, record.key)
    weights = folder / WEIGHTS
    if not weights.exists():
        raise UsageError(f"network {entry.name!r} has no weights to train.")
    atomic.write_bytes(out, StoredRecord(record, folder).content(WEIGHTS))
    typer.echo(f"weights: {out}")
