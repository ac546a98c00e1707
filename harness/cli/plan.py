"""`fetalbench plan`: what a run would do, without doing it."""

from __future__ import annotations

from harness.cli.options import (
    DEFAULT_DATA,
    DEFAULT_RESULTS,
    AsJson,
    Backends,
    Data,
    Device,
    Networks,
    ProtocolName,
    Results,
    Seeds,
    names,
    numbers,
    print_rows,
)


def plan(
    data: Data = DEFAULT_DATA,
    protocol: ProtocolName = "tiny",
    networks: Networks = "",
    backends: Backends = "",
    seeds: Seeds = "",
    results: Results = DEFAULT_RESULTS,
    device: Device = "auto",
    as_json: AsJson = False,
) -> None:
    """List the cells of a protocol: done, to do, failed, not implemented, not installed."""
    from harness.data.description import read_meta
    from harness.jobs.environment import planned_device
    from harness.jobs.job import Job
    from harness.measuring.machine import machine
    from harness.protocol import load_protocol
    from harness.run import grid

    planned = planned_device(device)
    template = Job(
        protocol=load_protocol(protocol),
        protocol_source=protocol,
        dataset=data,
        results=results,
        hardware=machine(planned),
        device=planned,
    )
    cells = grid.cells_of(
        template,
        read_meta(data),
        networks=names(networks),
        backends=names(backends),
        seeds=numbers(seeds, "--seeds"),
    )
    print_rows([cell.row() for cell in cells], as_json=as_json)
