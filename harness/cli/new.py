"""`fetalbench new`: start a network from the template."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def new(
    network: Annotated[str, typer.Argument(help="Lower-case letters, digits and '_'.")],
    folder: Annotated[
        Path | None,
        typer.Option("--folder", help="Write an installable package here, not into the tree."),
    ] = None,
    source: Annotated[
        str,
        typer.Option("--from", help="A library's network, as monai.networks.nets:BasicUNet."),
    ] = "",
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", help="An argument of it, as spatial_dims=2; may be repeated."),
    ] = None,
) -> None:
    """Write a network to start from: a small one in three frameworks, or a library's in PyTorch.

    With --from it is imported, built and run: one input channel, two classes, the size rule and the
    layers that take no part are found out.
    """
    from harness.errors import UsageError
    from harness.scaffold import new_network

    if settings and not source:
        raise UsageError("--set belongs to --from: name the class or function that takes it.")
    for path in new_network(network, folder, source, settings or ()):
        typer.echo(path)
    if folder is not None:
        typer.echo(f"\nInstall it with: pip install --no-deps --editable {folder}")
    typer.echo(f"\nThen: fetalbench check {network}")
