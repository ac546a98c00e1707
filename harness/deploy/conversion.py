"""Weights between the canonical form and those of the frameworks, checked both ways."""

from __future__ import annotations

from pathlib import Path

from backends.weights import digest, read_arrays
from harness.checks.clients import clients
from harness.errors import DataError, UsageError
from harness.records import atomic

# Weights do not depend on the size of the input; the smallest is the quickest to build.
SIDE = 64


def convert(
    source: Path,
    out: Path,
    *,
    network: str,
    backend: str,
    back: bool,
    sha256: str | None,
    force: bool,
) -> str:
    """Write `source` to `out` in the other form; returns the digest of the canonical weights.

    Raises `UsageError`, `DataError`, and `WorkerFault` with the worker's sentence if a name, a
    shape or a value is not that of the network. `out` is written completely or not at all.
    """
    if out.exists() and not force:
        raise UsageError(f"{out}: exists already; choose another name or add --force.")
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent}: no such folder; make it first.")
    canonical = out if back else source
    if canonical.suffix != ".safetensors":
        raise UsageError(f"{canonical.name}: our own form of weights ends in .safetensors.")
    place = {"name": network, "height": SIDE, "width": SIDE}
    with clients([backend]) as (workers, folder):
        ask = workers[backend].ask
        written, again = folder / out.name, folder / "again.safetensors"
        if back:
            found = ask("from_native", weights=source, out=written, **place)
        else:
            ask("to_native", weights=source, out=written, **place)
            found = ask("from_native", weights=written, out=again, **place)
            if found != digest(read_arrays(source)):
                raise DataError(
                    f"{out.name}: does not hold the bits of {source}; nothing was written."
                )
        if sha256 and found != sha256:
            raise DataError(f"{source}: the weights have the digest {found}, not {sha256}.")
        atomic.write_bytes(out, written.read_bytes())
    return found
