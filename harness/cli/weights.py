"""`fetalbench weights`: convert weights between our form and those of the frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)


@app.callback()
def weights() -> None:
    """Convert weights files."""


@app.command("convert")
def convert(
    source: Annotated[Path, typer.Argument(metavar="IN", help="Weights file.")],
    network: Annotated[str, typer.Option("--network", help="Network, see `fetalbench list`.")],
    backend: Annotated[str, typer.Option("--backend", help="torch, keras or flax.")],
    out: Annotated[Path, typer.Option("--to", help="File to write; its suffix decides the form.")],
    back: Annotated[
        bool, typer.Option("--back", help="IN is the framework's form, OUT becomes ours.")
    ] = False,
    sha256: Annotated[
        str, typer.Option("--sha256", help="Refuse weights whose digest is not this one.")
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="Overwrite OUT.")] = False,
) -> None:
    """Write a .safetensors of any backend in a framework's own form, or `--back` the other way.

    PyTorch: a state dict with PyTorch's names and layouts, .pt or .safetensors. Keras: .weights.h5.
    Flax: .msgpack. What was written is read back and must hold the same bits.
    """
    from harness import registry
    from harness.deploy.conversion import convert as run

    digest = run(
        source.absolute(),
        out.absolute(),
        network=registry.network(network).name,
        backend=registry.backend(backend),
        back=back,
        sha256=sha256 or None,
        force=force,
    )
    typer.echo(f"{out}  sha256 of the weights: {digest}")
