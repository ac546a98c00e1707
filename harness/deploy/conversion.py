"""Weights between the canonical form and those of the frameworks, checked both ways."""

from __future__ import annotations

from pathlib import Path

from backends.weights import digest, read_arrays
from harness.checks.clients import WorkerClient
from harness.errors import DataError, UsageError
from harness.records import atomic

# Weights do not depend on the size of the input; the smallest is the quickest to build.
SIDE = 64


def require_paths(source: Path, out: Path, *, back: bool, force: bool) -> None:
    """Raise `UsageError` unless `source` may be converted to `out`; asks no framework."""
    if out.exists() and not force:
        raise UsageError(f"{out}: exists already; choose another name or add --force.")
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent}: no such folder; make it first.")
    canonical = out if back else source
    if canonical.suffix != ".safetensors":
        raise UsageError(f"{canonical.name}: our own form of weights ends in .safetensors.")


def convert(
    worker: WorkerClient, source: Path, out: Path, *, network: str, back: bool, sha256: str = ""
) -> str:
    """Write `source` to `out` in the other form; returns the digest of the canonical weights.

    Raises `DataError`, and `WorkerFault` with the worker's sentence if a name, a shape or a value
    is not that of the network. `out` is written completely or not at all.
    """
    place = {"name": network, "height": SIDE, "width": SIDE}
    written, again = worker.folder / out.name, worker.folder / "again.safetensors"
    if back:
        found = worker.ask("from_native", weights=source, out=written, **place)
    else:
        worker.ask("to_native", weights=source, out=written, **place)
        found = worker.ask("from_native", weights=written, out=again, **place)
        if found != digest(read_arrays(source)):
            raise DataError(f"{out}: would not hold the bits of {source}; nothing was written.")
    if sha256 and found != sha256:
        raise DataError(f"{source}: the weights have the digest {found}, not {sha256}.")
    atomic.write_bytes(out, written.read_bytes())
    return found
