"""`fetalbench cost`: parameters and operations of each implementation beside the paper's."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from harness.cli.options import AsJson, Backends, Networks, print_rows

COUNTED = (
    "trainable_parameters",
    "other_parameters",
    "macs",
    "flops",
    "other_ops",
    "paper_convention_gflops",
)


def cost(
    networks: Networks = "",
    backends: Backends = "",
    size: Annotated[str, typer.Option("--size", help="HEIGHTxWIDTH.")] = "256x256",
    as_json: AsJson = False,
) -> None:
    """Count parameters and FLOPs of each network in each framework; nothing is computed.

    `flops` is 2 per multiply-add of convolutions; `paper_convention_gflops` counts as the paper's
    profiler did. The paper's figures are for 256x256.
    """
    from harness import registry
    from harness.cli.implementations import implementations, sizes
    from harness.errors import UsageError
    from harness.launch.probes import probes

    ((height, width), *more) = sizes(size, "--size")
    if more:
        raise UsageError(f"--size {size!r}: expected one size.")
    chosen = implementations(networks, backends)
    used = list(dict.fromkeys(backend for _, own in chosen for backend in own))
    rows: list[dict[str, Any]] = []
    with probes(used) as (workers, _):
        answers = [
            (name, b, workers[b].submit("cost", name=name, height=height, width=width))
            for name, own in chosen
            for b in own
        ]
        for name, backend, answer in answers:
            counted = answer.result()
            published = registry.network(name).card.published
            rows.append(
                {
                    "network": name,
                    "backend": backend,
                    **{key: counted[key] for key in COUNTED},
                    "paper_parameters": published and published.trainable_parameters,
                    "paper_gflops": published and float(published.gflops),
                }
            )
    print_rows(rows, as_json=as_json)
