"""Which implementations `cost`, `parity` and `check` are about, from their options."""

from __future__ import annotations

import typer

from backends.errors import require_size
from harness import registry
from harness.cli.options import names
from harness.errors import UsageError

Implementations = list[tuple[str, list[str]]]


def implementations(networks: str, backends: str) -> Implementations:
    """(network, its backends) for the networks and backends of two comma-separated options.

    Without `backends`: every installed framework; those that are not installed are named on stderr.
    Without `networks`: all that have a file for one of the backends. Raises `UsageError` if nothing
    is left, and `MissingFramework` if a framework is asked for and not installed.
    """
    chosen = [registry.backend(name) for name in names(backends)]
    for backend in chosen:
        registry.require_framework(backend)
    if not chosen:
        known = [name for name in registry.frameworks() if name != "numpy"]
        chosen = [name for name in known if not registry.missing_modules(name)]
        for name in set(known) - set(chosen):
            typer.echo(f"fetalbench: {name} is left out: it is not installed here.", err=True)
    wanted = [registry.network(name).name for name in names(networks)] or registry.usable_networks()
    found = []
    for name in dict.fromkeys(wanted):
        own = [b for b in dict.fromkeys(chosen) if registry.network(name).implements(b)]
        if own:
            found.append((name, own))
    if not found:
        raise UsageError(
            f"none of {', '.join(wanted)} is implemented for {', '.join(chosen) or 'a framework'}: "
            "see `fetalbench list`."
        )
    return found


def sizes(text: str, option: str) -> list[tuple[int, int]]:
    """The (height, width) pairs of a comma-separated option. Raises `UsageError`, `SizeError`."""
    from harness.protocol import parse_size

    found = [parse_size(item, option) for item in names(text) or [""]]
    for height, width in found:
        require_size(height, width)
    return found
