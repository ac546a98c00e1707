"""`fetalbench stream`: does a network keep up with a scanner?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT_DATA, AsJson, Data, ProtocolName


def stream(
    network: Annotated[str, typer.Argument(help="Network, see `fetalbench list`.")],
    backend: Annotated[str, typer.Option("--backend")] = "torch",
    plan: Annotated[
        str, typer.Option("--plan", help="Execution plan; default: the backend's first.")
    ] = "",
    preset: Annotated[
        str, typer.Option("--preset", help="haste, interactive or bursts.")
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
    size: Annotated[
        str, typer.Option("--size", help="HEIGHTxWIDTH; default: the protocol's.")
    ] = "",
    seed: Annotated[int, typer.Option("--seed")] = 0,
    device: Annotated[str, typer.Option("--device", help="cpu or cuda.")] = "cpu",
    as_json: AsJson = False,
) -> None:
    """Replay a stack at a scanner's pace: missed deadlines, p99, cold start, recovery."""
    from dataclasses import asdict

    from backends.contract import Runtime
    from harness.building import build_network
    from harness.cli.options import names, print_rows
    from harness.data.catalogue import open_dataset
    from harness.data.preparation import prepare
    from harness.errors import UsageError
    from harness.measuring import stream as streaming
    from harness.measuring.session import find_plans
    from harness.protocol import load_protocol

    if device not in ("cpu", "cuda"):
        raise UsageError(f"--device {device!r}: expected cpu or cuda.")
    pace = streaming.preset(preset)
    chosen = load_protocol(protocol).with_measuring({}, size).input
    rows = open_dataset(data).slices
    stack = rows[rows["stack"] == rows["stack"].iloc[0]]
    images, _ = prepare(open_dataset(data), stack, **chosen.model_dump(exclude={"classes"}))
    runtime = Runtime(device="cuda" if device == "cuda" else "cpu")
    framework, built = build_network(network, backend, chosen, runtime, weights)
    key = find_plans(framework, names(plan), device)[0].key
    found = streaming.run(
        lambda: built.prepare(images[:1], plan=key, quantity="end_to_end"),
        images,
        pace,
        slices=slices,
        seed=seed,
        deadline_ms=deadline_ms or None,
    )
    row = {"network": network, "backend": framework.name, "plan": key, **asdict(found)}
    print_rows([row], as_json=as_json, title=pace.title)
