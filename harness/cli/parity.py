"""`fetalbench parity`: is a network the same in every framework?"""

from __future__ import annotations

from typing import Annotated

import typer

from harness.cli.options import AsJson, Backends, Networks, print_rows
from harness.errors import EXIT_SOME_CELLS_FAILED


def parity(
    networks: Networks = "",
    backends: Backends = "",
    size: Annotated[
        str, typer.Option("--size", help="Comma-separated HEIGHTxWIDTH.")
    ] = "256x256,64x64,64x128",
    seed: Annotated[int, typer.Option("--seed", help="Seed of the weights and images.")] = 0,
    training: Annotated[
        bool, typer.Option("--training/--no-training", help="Compare a training step too.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Carry trained-like weights between frameworks and compare logits and a training step.

    `rule` says which tolerance decided. Exit code 1 if a difference is too large (`layer` names the
    first layer that differs) or if a framework fails (`reason` says why).
    """
    from harness.checks.clients import clients
    from harness.checks.parity import compare
    from harness.cli.implementations import implementations, sizes
    from harness.errors import UsageError

    grid = [(name, own) for name, own in implementations(networks, backends) if len(own) > 1]
    if not grid:
        raise UsageError(
            "parity compares frameworks: choose at least two that implement the network."
        )
    # The smallest first: its training step is compared too.
    wanted = sorted(sizes(size, "--size"), key=lambda pair: pair[0] * pair[1])
    used = list(dict.fromkeys(backend for _, own in grid for backend in own))
    rows = []
    with clients(used) as (workers, folder):
        for found in compare(grid, wanted, workers, folder, seed=seed, training=training):
            rows += found
            state = "within" if all(row.within for row in found) else "DIFFERENT"
            place = f"{found[0].network} {found[0].height}x{found[0].width}"
            typer.echo(f"{place}: {state}", err=True)
    print_rows([row.row() for row in rows], as_json=as_json)
    if not all(row.within for row in rows):
        raise typer.Exit(EXIT_SOME_CELLS_FAILED)
