"""`fetalbench export`: a network as a file for deployment, proven against its framework."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from harness.cli.options import AsJson, ProtocolName, Size, print_rows


def export(
    network: Annotated[str, typer.Argument(help="Network, see `fetalbench list`.")],
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="Weights file; default: starting weights."),
    ] = None,
    to: Annotated[Literal["onnx"], typer.Option("--to", help="Format.")] = "onnx",  # noqa: ARG001
    out: Annotated[
        Path | None, typer.Option("--out", help="File to write; default: NETWORK.onnx.")
    ] = None,
    protocol: ProtocolName = "paper",
    size: Size = "",
    as_json: AsJson = False,
) -> None:
    """Write a network for ONNX Runtime, OpenVINO and others, and prove that it computes the same.

    The proof is the greatest difference of logits and masks between PyTorch and each runtime on
    the same images. If they differ, no file is written.
    """
    from dataclasses import asdict

    from backends.contract import Runtime
    from harness import registry
    from harness.deploy.export import export as export_network
    from harness.deploy.loading import build_network
    from harness.errors import UsageError
    from harness.protocol import load_protocol

    entry = registry.network(network)
    chosen = load_protocol(protocol).with_measuring({}, size).input
    if weights is None:
        typer.echo("no --weights: the file will hold untrained starting weights.", err=True)
    _, built = build_network(entry.name, "torch", chosen, Runtime(), weights)
    path = out or Path(f"{entry.name}.onnx")
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: the folder {path.parent} does not exist.")
    proofs = export_network(built, entry.name, chosen, path)
    rows = [asdict(proof) | {"within": proof.within} for proof in proofs]
    print_rows(rows, as_json=as_json, title=f"{path} ({path.stat().st_size:,} bytes)")
