"""`fetalbench version`: what to write into a bug report."""

from __future__ import annotations

import platform

import typer

from harness.cli.options import AsJson, print_rows


def print_own(wanted: bool) -> None:
    """Print fetalbench's version and leave, if that is wanted."""
    if wanted:
        from harness.records.provenance import fetalbench_version

        typer.echo(f"fetalbench {fetalbench_version()}")
        raise typer.Exit


def version(as_json: AsJson = False) -> None:
    """Print the versions of fetalbench, Python and the frameworks."""
    from importlib import metadata

    from harness.records.provenance import fetalbench_version

    rows = [
        {"name": "fetalbench", "version": fetalbench_version()},
        {"name": "python", "version": platform.python_version()},
    ]
    for name in ("torch", "tensorflow", "tensorflow_cpu", "keras", "jax", "flax", "numpy"):
        try:
            rows.append({"name": name, "version": metadata.version(name)})
        except metadata.PackageNotFoundError:
            continue
    if as_json:
        print_rows(rows, as_json=True)
    else:
        for row in rows:
            typer.echo(f"{row['name']} {row['version']}")
