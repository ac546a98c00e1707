"""`fetalbench measure`: latency and memory of networks, without training them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from harness.cli.options import (
    DEFAULT_DATA,
    Data,
    Device,
    ProtocolName,
    Size,
    names,
    numbers,
    print_rows,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from harness.protocol import Protocol
    from harness.records.schema import Latency, Record


def measure(
    network: Annotated[str, typer.Argument(help="Networks, comma-separated, or all.")],
    backend: Annotated[
        str, typer.Option("--backend", help="Comma-separated; default: the protocol's, or torch.")
    ] = "",
    plan: Annotated[
        str, typer.Option("--plan", help="Comma-separated execution plans of one backend.")
    ] = "",
    batch: Annotated[str, typer.Option("--batch", help="Comma-separated batch sizes.")] = "",
    quantity: Annotated[
        str, typer.Option("--quantity", help="forward, end_to_end, or both by comma.")
    ] = "",
    profile: Annotated[
        Literal["quick", "publish", "mlperf"] | None,
        typer.Option("--profile", help="How long; default: the protocol's."),
    ] = None,
    size: Size = "",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Default: starting weights.")
    ] = None,
    data: Data = DEFAULT_DATA,
    protocol: ProtocolName = "tiny",
    results: Annotated[
        Path, typer.Option("--results", help="Folder for records and raw samples.")
    ] = Path("measurements"),
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Measure again.")] = False,
) -> None:
    """Time networks, each plan in fresh processes, and print every summary; samples are kept.

    What is not named is the protocol's. After Ctrl-C the same command resumes.
    """
    from harness import registry
    from harness.cli.cells import run_cells
    from harness.errors import UsageError
    from harness.protocol import load_protocol

    chosen = load_protocol(protocol)
    backends = [registry.backend(name) for name in names(backend)]
    backends = backends or list(chosen.grid.backends) or ["torch"]
    if plan and len(backends) > 1:
        raise UsageError(
            f"--plan {plan!r}: plans belong to one backend, and --backend names "
            f"{len(backends)}; put them under [measuring.plans] of a protocol."
        )
    networks = [] if network == "all" else names(network)
    if len(networks) == len(backends) == 1:
        registry.require_implementation(registry.network(networks[0]), backends[0])
    if weights is not None and len(networks) != 1:
        raise UsageError("--weights belongs to one network: name that one.")
    run_cells(
        data=data,
        protocol_source=protocol,
        protocol=_changed(chosen, backends, plan, batch, quantity, profile, size),
        networks=networks,
        backends=backends,
        seeds=[0],
        results=results,
        device=device,
        force=force,
        stages=("measure",),
        weights=weights,
        show=_show,
    )


def _changed(
    protocol: Protocol,
    backends: list[str],
    plan: str,
    batch: str,
    quantity: str,
    profile: str | None,
    size: str,
) -> Protocol:
    """The protocol with what was named; each plan in processes of its own, no weights carried."""

    settings: dict[str, Any] = {}
    if plan:
        settings["plans"] = {backends[0]: tuple(names(plan))}
    if batch:
        settings["batches"] = tuple(numbers(batch, "--batch"))
    if quantity:
        settings["quantities"] = tuple(names(quantity))
    if profile:
        settings["profile"] = profile
    changed = protocol.with_own_weights().with_measuring(settings, size)
    limits = changed.limits.model_copy(update={"share_process": False})
    return changed.model_copy(update={"limits": limits})


def _show(records: Sequence[Record]) -> None:
    from harness.records.schema import NOT_SCORED

    columns = ("plan", "precision", "quantity", "batch", "status", "median_ms", "p90_ms")
    columns += ("p99_ms", "first_call_ms", "compile_ms", "publishable", "reason")
    rows = [
        {"network": record.key.network, "backend": record.key.backend}
        | {column: getattr(entry, column) for column in columns}
        | _accuracy(record, entry)
        | {"doubts": " ".join([*entry.doubts, *entry.growth])}
        for record in records
        for entry in record.latency
    ]
    print_rows(rows, as_json=False)
    notes = [(r.key.network, note) for r in records for note in r.notes if NOT_SCORED in note]
    for note in dict.fromkeys(note for _, note in notes):
        names = ", ".join(dict.fromkeys(network for network, own in notes if own == note))
        typer.echo(f"fetalbench: {names}: {note}", err=True)


def _accuracy(record: Record, entry: Latency) -> dict[str, str | None]:
    """Dice of the plan's masks and its change from float64 in points, on each test set."""
    same = (a for a in record.accuracy if (a.plan, a.precision) == (entry.plan, entry.precision))
    found = next(same, None)
    sets = found.sets if found else {}
    return {
        f"{name}_dice": f"{100 * own.dice:.2f} % ({100 * own.difference:+.2f})"
        if (own := sets.get(name))
        else None
        for name in ("normal", "challenging")
    }
