"""`fetalbench data`: make, import, check and show data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from harness.cli.options import LARGEST_NUMBER, AsJson, print_rows
from harness.errors import EXIT_DATA, UsageError

if TYPE_CHECKING:
    from harness.data.catalogue import Dataset

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

Out = Annotated[Path, typer.Option("--out", help="Folder to write the data set to.")]
SliceAxis = Annotated[
    list[str] | None,
    typer.Option(help="Axis across the slices: i, j or k, or NAME=k for some stacks."),
]
BrainLabels = Annotated[
    str, typer.Option(help="Labels that are brain, as 1,2,5-7, or all (but 0).")
]
OtherLabels = Annotated[str, typer.Option(help="Labels that are not brain, as 1 or 8,9.")]
IgnoreLabels = Annotated[
    str, typer.Option(help="Labels of what nobody annotated; such slices are left out.")
]
Form = Annotated[
    Literal["auto", "bids", "nifti", "pairs", "nnunet", "arrays"],
    typer.Option(help="Layout of a raw source."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace a data set that is there.")]


@app.command()
def phantom(
    out: Out,
    preset: Annotated[
        Literal["tiny", "paper", "study", "sim_to_real"], typer.Option(help="Size of the data set.")
    ] = "tiny",
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_NUMBER, help="Another seed, other subjects.")
    ] = 0,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="name=strengths, as motion=0,0.2,0.4; may be repeated."),
    ] = None,
    matrix: Annotated[
        int, typer.Option(help="Pixels per side at the same field of view; 0: the preset's.")
    ] = 0,
    brains: Annotated[
        Path | None,
        typer.Option(help="Folder of label maps (NIfTI) of fetal brains to place in the scene."),
    ] = None,
    processes: Annotated[int, typer.Option(min=0, help="0: as many as cores.")] = 0,
    force: Force = False,
) -> None:
    """Compute a phantom data set: same preset and seed, same bytes."""
    from harness.data.phantom.atlas import find_label_maps
    from harness.data.phantom.generation import make_phantom, parse_sweep
    from harness.data.phantom.presets import find_preset, with_matrix

    chosen = find_preset(preset)
    if matrix:
        chosen = with_matrix(chosen, matrix)
    with _progress("stacks") as report:
        dataset = make_phantom(
            out,
            chosen,
            seed=seed,
            sweep=dict(parse_sweep(text) for text in sweep or []),
            brains=find_label_maps(brains) if brains else (),
            processes=processes or None,
            force=force,
            on_stack=report,
        )
    _summarise(dataset)


@app.command("import")
def import_(
    source: Annotated[Path, typer.Argument(help="Folder, or a .csv file of pairs.")],
    out: Out,
    split: Annotated[
        list[str] | None,
        typer.Option(
            help="names=set, as sub-01,sub-02=train or 'run-*=normal'; "
            "sets: train val normal challenging."
        ),
    ] = None,
    split_by: Annotated[
        Literal["subject", "stack"],
        typer.Option(help="By stack only if you must: it leaks anatomy between sets."),
    ] = "subject",
    form: Form = "auto",
    split_file: Annotated[
        Path | None, typer.Option(help="A TSV file with the columns subject (or stack) and set.")
    ] = None,
    split_ratio: Annotated[
        str,
        typer.Option(
            help="Seeded shares of the subjects, train/val/normal as 0.7/0.15/0.15, alike in "
            "gestational age if it is known."
        ),
    ] = "",
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_NUMBER, help="Another seed, another --split-ratio.")
    ] = 0,
    slice_axis: SliceAxis = None,
    brain_labels: BrainLabels = "",
    other_labels: OtherLabels = "",
    ignore_labels: IgnoreLabels = "",
    max_excluded: Annotated[
        float, typer.Option(help="Share of stacks that may be unfit before the import fails.")
    ] = 0.2,
    name: Annotated[str, typer.Option(help="Short name; default: the folder's.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the data.")] = "not stated",
    force: Force = False,
) -> None:
    """Import raw stacks with brain masks; what is unfit is left out and listed."""
    from harness.data.importing import ImportOptions, import_dataset
    from harness.data.labels import parse_labels
    from harness.registry import check_name

    options = ImportOptions(
        form=form,
        split=split or (),
        split_by=split_by,
        split_file=split_file,
        split_ratio=split_ratio,
        seed=seed,
        slice_axis=slice_axis or (),
        labels=parse_labels(brain_labels, other_labels, ignore_labels),
        largest_excluded_share=max_excluded,
        name=check_name(name, "data set") if name else "",
        licence=licence,
        force=force,
    )
    with _progress("stacks") as report:
        dataset = import_dataset(source, out, options, report)
    _summarise(dataset)


@app.command()
def check(
    folder: Annotated[Path, typer.Argument(help="Raw source or prepared data set.")],
    form: Form = "auto",
    max_excluded: Annotated[
        float, typer.Option(help="Share of stacks that may be unfit before the check fails.")
    ] = 0.2,
    protocol: Annotated[
        str,
        typer.Option(help="Say how much of each brain lies outside the window of this protocol."),
    ] = "",
    slice_axis: SliceAxis = None,
    brain_labels: BrainLabels = "",
    other_labels: OtherLabels = "",
    ignore_labels: IgnoreLabels = "",
    as_json: AsJson = False,
) -> None:
    """List every stack, what is excluded and why; exit code 3 if too much is."""
    from harness.data.checking import CheckOptions, check_folder
    from harness.data.labels import parse_labels
    from harness.protocol import load_protocol

    chosen = load_protocol(protocol) if protocol else None
    options = CheckOptions(
        form=form,
        largest_excluded_share=max_excluded,
        labels=parse_labels(brain_labels, other_labels, ignore_labels),
        slice_axis=slice_axis or (),
        window=chosen.input if chosen else None,
        largest_outside_share=chosen.evaluation.largest_outside_share if chosen else 0.0,
    )
    rows, fault = check_folder(folder, options)
    print_rows(rows, as_json=as_json)
    if fault:
        typer.echo(f"fetalbench: {fault}", err=True)
        raise typer.Exit(EXIT_DATA)


@app.command()
def show(
    folder: Annotated[Path, typer.Argument(help="Prepared data set.")],
    out: Annotated[
        Path, typer.Option("--out", help="A .png file, or .html to embed the sheets.")
    ] = Path("contact-sheet.html"),
    slices: Annotated[int, typer.Option(min=1, max=400, help="Slices of each set.")] = 24,
    seed: Annotated[
        int, typer.Option(min=0, max=LARGEST_NUMBER, help="Which slices are drawn.")
    ] = 0,
) -> None:
    """Draw a contact sheet of each set with the masks' outlines."""
    from harness.data.catalogue import open_dataset
    from harness.data.contact_sheet import write_sheet

    if out.suffix.lower() not in (".png", ".html"):
        raise UsageError(f"--out {out}: expected a name that ends in .png or .html.")
    write_sheet(open_dataset(folder), out, slices=slices, seed=seed)
    typer.echo(f"{out}")


@app.command()
def derivatives(
    cell: Annotated[Path, typer.Argument(help="Folder of one record, with predictions.")],
    data: Annotated[Path, typer.Option("--data", help="The data set that it was evaluated on.")],
    out: Annotated[Path, typer.Option("--out", help="New folder for the masks.")],
) -> None:
    """Write a cell's predicted masks as BIDS derivatives."""
    from harness.data.catalogue import open_dataset
    from harness.data.derivatives import write_derivatives
    from harness.errors import DataError
    from harness.records.store import StoredRecord, read_record

    dataset = open_dataset(data)
    record = read_record(cell)
    if record.key.dataset_hash != dataset.meta.hash:
        raise DataError(
            f"{cell}: was evaluated on data set {record.key.dataset_hash[:8]}, "
            f"{data} is {dataset.meta.hash[:8]}; name the one it was evaluated on."
        )
    predictions = StoredRecord(record, cell).predictions()
    written = write_derivatives(dataset, predictions, out, network=record.title)
    typer.echo(f"{out}: {len(written)} masks")


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on a terminal, nothing elsewhere."""
    import sys

    import rich.progress
    from rich.console import Console

    with rich.progress.Progress(
        console=Console(stderr=True), disable=not sys.stderr.isatty(), transient=True
    ) as bar:
        task = bar.add_task(what)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _summarise(dataset: Dataset) -> None:
    typer.echo(f"{dataset.folder}: {dataset.meta.title}, hash {dataset.meta.hash[:8]}")
    for name, counts in dataset.meta.sets.items():
        typer.echo(
            f"  {name}: {counts.slices} slices ({counts.slices_with_brain} with brain), "
            f"{counts.stacks} stacks, {counts.subjects} subjects"
        )
    for exclusion in dataset.meta.excluded:
        typer.echo(f"  left out {exclusion.case}: {exclusion.reason}")
    for warning in dataset.meta.warnings:
        typer.echo(f"  warning: {warning}")
