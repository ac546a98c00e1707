"""`fetalbench verify`: run the cell of a record again and compare."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from harness.cli.options import DEFAULT_DATA, AsJson, Data, Device, print_rows
from harness.errors import EXIT_SOME_CELLS_FAILED


def verify(
    record: Annotated[Path, typer.Argument(help="Folder of one record (.../seed-N).")],
    data: Data = DEFAULT_DATA,
    device: Device = "auto",
    tolerance: Annotated[
        float, typer.Option("--tolerance", min=0, help="Of Dice and IoU, as fractions.")
    ] = 0.005,
    as_json: AsJson = False,
) -> None:
    """Train and evaluate the cell of a record again, and say whether the two agree.

    Scores may differ by --tolerance; parameters and multiply-adds must be equal; latencies are not
    compared. Exit codes: 0 they agree, 1 they do not, 2 usage, 3 data, 4 environment.
    """
    from harness.cli.cells import execute
    from harness.data.catalogue import open_dataset
    from harness.errors import DataError, RecordError
    from harness.jobs.job import Job
    from harness.measuring.machine import machine
    from harness.records.store import find_at
    from harness.run import grid, runner, verification

    stored = find_at(record)
    key, protocol = stored.record.key, stored.protocol()
    dataset = open_dataset(data, verify=True)
    if dataset.meta.hash != key.dataset_hash:
        raise DataError(
            f"{record}: was made on data set {key.dataset_hash[:8]}, {data} is "
            f"{dataset.meta.hash[:8]}; name the one it was made on with --data."
        )
    if protocol.hash != key.protocol_hash:
        raise RecordError(
            f"{record}: this fetalbench reads another protocol from it than it was run under; "
            f"verify it with fetalbench {stored.record.provenance.fetalbench}."
        )
    chosen = runner.choose_device(device, protocol)
    with tempfile.TemporaryDirectory(prefix="fetalbench-verify-") as folder:
        template = Job(
            protocol=protocol,
            protocol_source=key.protocol,
            dataset=dataset.folder,
            results=Path(folder),
            hardware=machine(chosen),
            device=chosen,
            stages=("train", "evaluate"),
        )
        training = stored.record.training
        donors = [training.weights_from] if training else []
        cells = grid.cells_of(
            template,
            dataset.meta,
            networks=[key.network],
            backends=list(dict.fromkeys([*donors, key.backend])),
            seeds=[key.seed],
        )
        execute(template, cells)
        again = runner.record_of(template, key)
    if again is None:
        raise RecordError(f"{record}: its cell could not be run again.")
    found = verification.compare(stored.record, again, tolerance)
    print_rows([asdict(one) for one in found], as_json=as_json)
    if not as_json and (same := verification.same_weights(stored.record, again)) is not None:
        typer.echo(f"weights: {'equal to the bit' if same else 'not equal'}")
    if not all(one.agrees for one in found):
        raise typer.Exit(EXIT_SOME_CELLS_FAILED)
