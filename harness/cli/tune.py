"""`fetalbench tune`: the learning rate of each network, found the same way for all."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from harness.cli.options import DEFAULT_DATA, Data, Device, Networks, names, print_rows

if TYPE_CHECKING:
    from harness.run.tuning import Result, Search

# Half a decade apart and finer where networks with Adam usually end up.
RATES = "3e-5,1e-4,3e-4,1e-3,2e-3,4e-3,8e-3,2e-2"
# Of the protocol's epochs, without --epochs: a rate shows early what it is worth.
EPOCHS_SHARE = 0.25


def tune(
    protocol: Annotated[str, typer.Argument(help="Name of a protocol, or a .toml file.")],
    out: Annotated[
        Path, typer.Option("--out", help="Protocol to write, .toml; it is named after the file.")
    ],
    data: Data = DEFAULT_DATA,
    networks: Networks = "",
    backend: Annotated[str, typer.Option("--backend", help="The one that trains.")] = "torch",
    rates: Annotated[str, typer.Option("--rates", help="Comma-separated learning rates.")] = RATES,
    epochs: Annotated[
        int,
        typer.Option("--epochs", min=0, help="Of the last rung; 0: a quarter of the protocol's."),
    ] = 0,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Of every trial.")] = 0,
    device: Device = "auto",
) -> None:
    """Choose each network's learning rate by successive halving on validation Dice.

    Every rate is tried for a few epochs, the better half for twice as many, and so on to two. All
    networks get the same rates, epochs and seed. Trials are kept in OUT.trials, what they gave in
    OUT.tuning.json. After Ctrl-C the same command resumes; once more, it does nothing.

    Exit codes: 0 all chosen, 1 a network has no rate, 2 usage, 3 data, 4 environment, 130
    interrupted.
    """
    from harness.cli.cells import shown_progress
    from harness.errors import EXIT_SOME_CELLS_FAILED
    from harness.run import tuning

    wanted = _search(protocol, out, data, networks, backend, rates, epochs, seed, device)
    command = f"tune {protocol} --out {out.name} --backend {wanted.backend}"
    command += f" --networks {','.join(wanted.networks)} --rates {rates}"
    command += f" --epochs {wanted.epochs} --seed {seed} --data {data.name}"
    with shown_progress() as progress:
        result = tuning.search(wanted, progress)
    changed = _write(wanted, result, out, shlex.join(["fetalbench", *command.split()]))
    print_rows(_rows(wanted, result), as_json=False)
    if result.trained or changed:
        typer.echo(f"{out}: use it as --protocol {out}")
    else:
        typer.echo(f"Nothing to do: {out} is tuned. Remove {tuning.folder_of(out)} to tune again.")
    if None in result.chosen.values():
        raise typer.Exit(EXIT_SOME_CELLS_FAILED)


def _search(
    source: str,
    out: Path,
    data: Path,
    networks: str,
    backend: str,
    rates: str,
    epochs: int,
    seed: int,
    device: Any,
) -> Search:
    """What the options ask for. Raises `UsageError`, `DataError`, `EnvironmentFault`."""
    from harness import registry
    from harness.data.catalogue import open_dataset
    from harness.errors import UsageError
    from harness.jobs.job import Job
    from harness.measuring.machine import machine
    from harness.protocol import load_protocol
    from harness.run import runner, tuning

    if out.suffix != ".toml":
        raise UsageError(f"--out {out}: expected a name that ends in .toml.")
    registry.check_name(out.stem, "protocol")
    if out.exists() and not _json_file(out).exists():
        raise UsageError(f"--out {out}: is there and was not tuned: choose another name.")
    chosen = load_protocol(source)
    framework = registry.backend(backend)
    registry.require_framework(framework)
    asked = names(networks) or list(chosen.grid.networks)
    entries = [registry.network(name) for name in asked]
    for entry in entries:
        registry.require_implementation(entry, framework)
    entries = entries or [one for one in registry.networks().values() if one.implements(framework)]
    found = tuple(dict.fromkeys(entry.name for entry in entries))
    dataset = open_dataset(data, verify=True)
    tuning.require_validation(dataset.meta, chosen, found)
    planned = runner.choose_device(device, chosen)
    return tuning.Search(
        template=Job(
            protocol=chosen,
            protocol_source=source,
            dataset=dataset.folder,
            results=tuning.folder_of(out),
            hardware=machine(planned),
            device=planned,
            stages=("train",),
        ),
        dataset=dataset.meta,
        networks=found,
        backend=framework,
        rates=_rates(rates),
        epochs=epochs or max(1, round(EPOCHS_SHARE * chosen.training.epochs)),
        seed=seed,
    )


def _rates(text: str) -> tuple[float, ...]:
    """The rates of the option, growing. Raises `UsageError`."""
    from harness.errors import UsageError

    try:
        found = {float(item) for item in names(text)}
    except ValueError:
        found = set[float]()
    if len(found) < 2 or not all(0 < rate < 1 for rate in found):
        raise UsageError(f"--rates {text!r}: expected two or more numbers such as 1e-4,1e-3.")
    return tuple(sorted(found))


def _json_file(out: Path) -> Path:
    return out.with_suffix(".tuning.json")


def _write(wanted: Search, result: Result, out: Path, command: str) -> bool:
    """Write protocol and JSON unless they stand; whether that was so."""
    import json

    from harness.records import atomic
    from harness.run import tuned

    _, text = tuned.protocol_of(wanted, result, out.stem, command)
    content = tuned.as_json(wanted, result, command)
    path = _json_file(out)
    stands = (
        out.exists()
        and out.read_text(encoding="utf-8") == text
        and path.exists()
        and json.loads(path.read_bytes()) == content
    )
    if not stands:
        # The JSON first: a protocol without it would be taken for somebody else's.
        atomic.write_json(path, content)
        atomic.write_bytes(out, text.encode())
    return not stands


def _rows(wanted: Search, result: Result) -> list[dict[str, Any]]:
    rows = []
    for name, trial in result.chosen.items():
        note = "no trial ended well: the protocol's rate stays"
        if trial is not None:
            ends = {wanted.rates[0]: "lowest", wanted.rates[-1]: "highest"}
            end = ends.get(trial.rate)
            note = f"the {end} rate tried: widen --rates" if end else ""
        rows.append(
            {
                "network": name,
                "learning_rate": trial and trial.rate,
                "validation_dice": trial and trial.dice,
                "protocol_says": wanted.template.protocol.training_of(name).learning_rate,
                "note": note,
            }
        )
    return rows
