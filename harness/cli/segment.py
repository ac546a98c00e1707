"""`fetalbench segment`: brain masks of stacks that nobody has labelled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.cli.options import AsJson, Device, print_rows

if TYPE_CHECKING:
    from harness.deploy.segmenting import Segmented


def segment(
    stacks: Annotated[
        list[Path], typer.Argument(help="NIfTI files, folders of them, or BIDS data sets.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the masks.")] = Path("masks"),
    network: Annotated[
        str, typer.Option("--network", help="Network, see `fetalbench list`.")
    ] = "rfbsnet",
    weights: Annotated[
        Path | None, typer.Option("--weights", help="Weights file; default: the package's own.")
    ] = None,
    protocol: Annotated[
        str, typer.Option("--protocol", help="What the weights of --weights were trained to see.")
    ] = "sim_to_real",
    plan: Annotated[
        str, typer.Option("--plan", help="Execution plan; best: by what is to be done.")
    ] = "best",
    backend: Annotated[
        str, typer.Option("--backend", help="Default: the first framework that is installed.")
    ] = "",
    largest_component: Annotated[
        bool, typer.Option("--largest-component", help="Keep the largest piece in 3-D only.")
    ] = False,
    slice_axis: Annotated[
        list[str],
        typer.Option("--slice-axis", help="i, j or k across the slices; NAME=k for some stacks."),
    ] = [],  # noqa: B006
    device: Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace masks in --out.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write brain masks on each stack's own grid, contact sheets, volumes and slices to look at.

    Needs no data set, no training and no GPU. Research only; not a medical device. Exit codes:
    0 every stack has a mask with brain, 1 a stack could not be read or shows no brain, 2 usage,
    3 data, 4 environment.
    """
    from harness.data.unlabelled import count_slices, find_stacks
    from harness.deploy.segmenter import Segmenter
    from harness.deploy.segmenting import require_free
    from harness.deploy.segmenting import segment as segment_stacks
    from harness.errors import EXIT_SOME_CELLS_FAILED
    from harness.jobs.environment import planned_device

    # A user's mistake is told before a framework is imported, which takes seconds.
    cases = find_stacks(stacks, slice_axis)
    require_free(out, force=force, remove=False)
    segmenter = Segmenter(
        network,
        weights=weights,
        protocol=protocol,
        backend=backend,
        plan=plan,
        device=planned_device(device),
        slices=count_slices(cases.values()),
    )
    done: list[Segmented] = []

    def tell(found: Segmented, count: int) -> None:
        done.append(found)
        if found.fault:
            typer.echo(f"fetalbench: {found.fault}", err=True)
        elif not as_json or not found.with_brain:
            typer.echo(f"[{len(done)}/{count}] {found.name}: {_sentence(found)}", err=True)

    found = segment_stacks(
        stacks,
        out,
        segmenter=segmenter,
        largest_component=largest_component,
        slice_axis=slice_axis,
        force=force,
        on_stack=tell,
    )
    rows = [one.row() for one in found]
    print_rows(rows, as_json=as_json, title=f"{segmenter.network}, {segmenter.plan}: {out}")
    if any(one.fault or not one.with_brain for one in found):
        raise typer.Exit(EXIT_SOME_CELLS_FAILED)


def _sentence(found: Segmented) -> str:
    """What one line says of a stack."""
    for warning in found.warnings:
        typer.echo(f"fetalbench: {found.source}: {warning}.", err=True)
    if not found.with_brain:
        return f"no brain found in its {found.slices} slices; the mask is empty. See {found.sheet}"
    look = f", look at {len(found.look_at)} of them" if found.look_at else ""
    return (
        f"{found.volume_ml:.1f} ml in {found.with_brain} of {found.slices} slices{look}. "
        f"See {found.sheet}"
    )
