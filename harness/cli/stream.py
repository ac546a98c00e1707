"""`fetalbench stream`: does a network keep up with a scanner?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.options import (
    DEFAULT_DATA,
    LARGEST_NUMBER,
    AsJson,
    Data,
    Device,
    ProtocolName,
    Size,
    print_rows,
)

if TYPE_CHECKING:
    from harness.records.schema import Record


def verdict(row: Mapping[str, Any], pace: str) -> str:
    """One sentence: does it keep up, and by how much."""
    who = f"{row['network']} × {row['backend']} ({row['plan']})"
    spare = row["deadline_ms"] - row["worst_ms"]
    bound = f"at most {row['missed_share_upper']:.1%} of all are late with 95 % confidence"
    if not row["missed"]:
        said = (
            f"{who} keeps up with {pace}: the slowest of {row['slices']} slices took "
            f"{row['worst_ms']:.1f} ms of {row['deadline_ms']:g} ms, {spare:.1f} ms to spare; "
            f"{bound}"
        )
    else:
        said = (
            f"{who} does not keep up with {pace}: {row['missed']} of {row['slices']} slices were "
            f"late, the slowest by {-spare:.1f} ms (median {row['median_ms']:.1f} ms of "
            f"{row['deadline_ms']:g} ms)"
        )
    return said + (f". Doubtful: {' '.join(row['doubts'])}" if row["doubts"] else ".")


def stream(
    network: Annotated[str, typer.Argument(help="Network, see `fetalbench list`.")],
    backend: Annotated[str, typer.Option("--backend")] = "torch",
    plan: Annotated[
        str, typer.Option("--plan", help="Execution plan; default: the backend's first.")
    ] = "",
    preset: Annotated[
        Literal["haste", "interactive", "bursts"],
        typer.Option("--preset", help="The scanner's pace."),
    ] = "interactive",
    slices: Annotated[int, typer.Option("--slices", min=1, help="p99 needs 662.")] = 100,
    deadline_ms: Annotated[
        float, typer.Option("--deadline-ms", min=0, help="0: the preset's shortest interval.")
    ] = 0.0,
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Default: starting weights.")
    ] = None,
    data: Data = DEFAULT_DATA,
    protocol: ProtocolName = "paper",
    size: Size = "",
    seed: Annotated[int, typer.Option("--seed", min=0, max=LARGEST_NUMBER)] = 0,
    results: Annotated[
        Path, typer.Option("--results", help="Folder for the record and every response.")
    ] = Path("streams"),
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """Replay a stack at a scanner's pace: missed deadlines, p99, cold start, recovery.

    Runs in a process of its own, pinned and watched like every measurement; keeps every response.
    """
    from backends.plans import PLANS, require
    from harness import registry
    from harness.cli.cells import run_cells
    from harness.jobs.job import StreamSettings
    from harness.measuring import stream as streaming
    from harness.protocol import load_protocol

    pace = streaming.PACES[preset]
    framework, entry = registry.backend(backend), registry.network(network)
    registry.require_implementation(entry, framework)
    if plan:
        require(plan, PLANS[framework])
    chosen = load_protocol(protocol).with_own_weights().with_measuring({}, size)
    limits = chosen.limits.model_copy(update={"requires_gpu": False})

    def show(records: Sequence[Record]) -> None:
        rows = [
            {"network": record.key.network, "backend": record.key.backend, **one.model_dump()}
            for record in records
            for one in record.streams
            if one.preset == preset and plan in ("", one.plan)
        ]
        print_rows(rows, as_json=as_json, title=pace.title)
        for row in rows:
            typer.echo(verdict(row, pace.title), err=as_json)

    run_cells(
        data=data,
        protocol_source=protocol,
        protocol=chosen.model_copy(update={"limits": limits}),
        networks=[entry.name],
        backends=[framework],
        seeds=[0],
        results=results,
        device=device,
        force=False,
        stages=("stream",),
        weights=weights,
        stream=StreamSettings(
            preset=preset, plan=plan, slices=slices, deadline_ms=deadline_ms or None, seed=seed
        ),
        show=show,
    )
