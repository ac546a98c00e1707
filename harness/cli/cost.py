"""`fetalbench cost`: parameters and operations of each implementation beside the paper's."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Annotated, Any

import typer

from harness.cli.options import AsJson, Backends, Networks, print_rows
from harness.errors import EXIT_SOME_CELLS_FAILED

COUNTED = (
    "trainable_parameters",
    "other_parameters",
    "macs",
    "flops",
    "other_ops",
    "paper_convention_gflops",
)
PUBLISHED = ("paper_parameters", "paper_gflops")


def cost(
    networks: Networks = "",
    backends: Backends = "",
    size: Annotated[str, typer.Option("--size", help="HEIGHTxWIDTH.")] = "256x256",
    as_json: AsJson = False,
) -> None:
    """Count parameters and FLOPs of each network in each framework, without computing.

    `flops` is 2 per multiply-add of convolutions; `paper_convention_gflops` counts as the paper's
    profiler did. The paper's figures are for 256x256. Exit code 1 if a cell cannot be counted;
    `reason` then says why.
    """
    from harness.checks.clients import clients
    from harness.cli.implementations import implementations, sizes
    from harness.errors import UsageError

    ((height, width), *more) = sizes(size, "--size")
    if more:
        raise UsageError(f"--size {size!r}: expected one size.")
    chosen = implementations(networks, backends)
    used = list(dict.fromkeys(backend for _, own in chosen for backend in own))
    rows: list[dict[str, Any]] = []
    with clients(used) as (workers, _):
        answers = [
            (name, b, workers[b].submit("cost", name=name, height=height, width=width))
            for name, own in chosen
            for b in own
        ]
        for name, backend, answer in answers:
            rows.append({"network": name, "backend": backend, **_counted(name, answer)})
    print_rows(rows, as_json=as_json)
    if any(row["reason"] for row in rows):
        raise typer.Exit(EXIT_SOME_CELLS_FAILED)


def _counted(name: str, answer: Future[dict[str, Any]]) -> dict[str, Any]:
    """The counts of a cell beside the paper's; None everywhere, with the reason, if it fails."""
    from harness import registry
    from harness.errors import FetalbenchError

    found: dict[str, Any] = dict.fromkeys((*COUNTED, *PUBLISHED))
    try:
        published = registry.network(name).card.published
        if published is not None:
            figures = published.trainable_parameters, float(published.gflops)
            found |= dict(zip(PUBLISHED, figures, strict=True))
        counted = answer.result()
    except FetalbenchError as error:
        return found | {"reason": str(error)}
    return found | {key: counted[key] for key in (*COUNTED, "reason")}
