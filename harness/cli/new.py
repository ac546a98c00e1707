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
) -> None:
    """Write a small working network to start from, in all three frameworks."""
    from harness.scaffold import new_network

    for path in new_network(network, folder):
        typer.echo(path)
    if folder is not None:
        typer.echo(f"\nInstall it with: pip install --no-deps --editable {folder}")
    typer.echo(f"\nThen: fetalbench check {network}")
