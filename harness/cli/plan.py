"""`fetalbench plan`: what a run would do, without doing it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

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

if TYPE_CHECKING:
    from harness.data.description import DatasetMeta
    from harness.run.estimate import CellEstimate
    from harness.run.grid import GridCell


def plan(
    data: Data = DEFAULT_DATA,
    protocol: ProtocolName = "tiny",
    networks: Networks = "",
    backends: Backends = "",
    seeds: Seeds = "",
    results: Results = DEFAULT_RESULTS,
    device: Device = "auto",
    phantom: Annotated[
        str, typer.Option("--phantom", help="For a preset that is not computed yet; no --data.")
    ] = "",
    probe: Annotated[
        bool,
        typer.Option(
            "--probe/--no-probe", help="Try what no record tells of for some seconds, to estimate."
        ),
    ] = True,
    as_json: AsJson = False,
) -> None:
    """List the cells of a protocol, and estimate how long those take that are not done.

    The estimate is from records of this machine, from a short probe, and scaled by FLOPs. Exit
    codes: 0, 2 usage, 3 data, also if a record that stands there is not what it says.
    """
    from harness.data.description import read_meta
    from harness.data.visibility import require_fit
    from harness.jobs.environment import planned_device
    from harness.jobs.job import Job
    from harness.measuring.machine import machine
    from harness.measuring.precision import require_precision
    from harness.protocol import load_protocol
    from harness.run import estimate, grid, speeds

    chosen = load_protocol(protocol)
    meta = _not_made(phantom) if phantom else read_meta(data)
    if not phantom:
        for line in require_fit(data, meta, chosen.input, chosen.evaluation):
            typer.echo(f"fetalbench: {line}", err=True)
    planned = planned_device(device)
    require_precision(chosen, planned)
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
    due = [cell.key for cell in cells if cell.can_run and cell.state != "done"]
    known = speeds.from_records(template, due)
    if probe:
        speeds.probe(template, due, known)
    found = estimate.estimate(template, meta, cells, known)
    row = _json_row if as_json else _row
    print_rows([row(*pair) for pair in zip(cells, found, strict=True)], as_json=as_json)
    for line in estimate.sentences(cells, found, known):
        typer.echo(line, err=as_json)
    leave_if_unsound([cell.reason for cell in cells if cell.unsound])


def _not_made(preset: str) -> DatasetMeta:
    """What the description of a phantom will say of its sets. Raises `UsageError`."""
    from harness.data.description import DatasetMeta, SetCounts
    from harness.data.phantom.presets import find_preset

    found = find_preset(preset)
    sets = {
        name: SetCounts(
            slices=size.slices,
            slices_with_brain=size.slices,
            stacks=size.stacks,
            subjects=size.subjects,
        )
        for name, size in found.sets.items()
    }
    names_of = {"name": f"phantom-{preset}", "title": found.title, "licence": ""}
    # The hash of no data set: none of its cells has a record.
    return DatasetMeta(**names_of, kind="phantom", source="", hash=64 * "0", sets=sets)


def _json_row(cell: GridCell, found: CellEstimate) -> dict[str, Any]:
    seconds = {"training_s": found.training_s, "measuring_s": found.measuring_s}
    return cell.row() | seconds | {"estimated_from": found.source}


def _row(cell: GridCell, found: CellEstimate) -> dict[str, Any]:
    from harness.run.estimate import duration

    def shown(seconds: float | None) -> str:
        return duration(seconds) if seconds else ""

    return cell.row() | {
        "training": shown(found.training_s),
        "measuring": shown(found.measuring_s),
    }
