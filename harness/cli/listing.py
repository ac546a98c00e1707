"""`fetalbench list`: the networks, the backends, and the state of each pair."""

from __future__ import annotations

from harness import registry
from harness.cli.options import AsJson, print_rows
from harness.errors import UsageError


def list_cells(as_json: AsJson = False) -> None:
    """List every network in every backend: ready, not implemented, not installed or broken."""
    rows = []
    for name, entry in registry.networks().items():
        title, fault = _card(entry)
        for backend in registry.frameworks():
            if backend == "numpy" and not entry.implements(backend):
                continue
            if backend != "numpy" and entry.implements("numpy") and not entry.implements(backend):
                continue
            if fault:
                status = f"broken: {fault}"
            elif not entry.implements(backend):
                status = "not implemented"
            elif registry.missing_modules(backend):
                status = "not installed"
            else:
                status = "ready"
            rows.append(
                {
                    "network": name,
                    "backend": backend,
                    "status": status,
                    "title": title,
                    "framework": registry.BACKEND_TITLES.get(backend, backend),
                }
            )
    print_rows(rows, as_json=as_json)


def _card(entry: registry.NetworkEntry) -> tuple[str, str]:
    """The title, and what is wrong with the card: a broken network must not hide the others."""
    try:
        return entry.card.title, ""
    except UsageError as error:
        return entry.name, str(error)
