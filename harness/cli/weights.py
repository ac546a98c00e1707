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
    from harness.checks.clients import clients
    from harness.deploy import conversion

    source, out = source.absolute(), out.absolute()
    conversion.require_paths(source, out, back=back, force=force)
    name, backend = registry.network(network).name, registry.backend(backend)
    with clients([backend]) as (workers, _):
        digest = conversion.convert(
            workers[backend], source, out, network=name, back=back, sha256=sha256
        )
    typer.echo(f"{out}  sha256 of the weights: {digest}")
