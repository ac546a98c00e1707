"""`fetalbench plan`: what a run would do, without doing it."""

from __future__ import annotations

import typer

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
    leave_if_unsound,
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
    """List the cells of a protocol: done, to do, failed, not implemented, not installed.

    Exit codes: 0, 2 usage, 3 data, also if a record that stands there is not what it says.
    """
    from harness.data.description import read_meta
    from harness.data.visibility import require_fit
    from harness.jobs.environment import planned_device
    from harness.jobs.job import Job
    from harness.measuring.machine import machine
    from harness.protocol import load_protocol
    from harness.run import grid

    chosen = load_protocol(protocol)
    meta = read_meta(data)
    for line in require_fit(data, meta, chosen.input, chosen.evaluation):
        typer.echo(f"fetalbench: {line}", err=True)
    planned = planned_device(device)
    template = Job(
        protocol=chosen,
        protocol_source=protocol,
        dataset=data,
        results=results,
        hardware=machine(planned),
        device=planned,
    )
    cells = grid.cells_of(
        template,
        meta,
        networks=names(networks),
        backends=names(backends),
        seeds=numbers(seeds, "--seeds"),
    )
    print_rows([cell.row() for cell in cells], as_json=as_json)
    leave_if_unsound([cell.reason for cell in cells if cell.unsound])
