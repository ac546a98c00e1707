"""`fetalbench list`: the networks, the backends, and what is there of each pair."""

from __future__ import annotations

from harness import registry
from harness.cli.options import AsJson, print_rows


def list_cells(as_json: AsJson = False) -> None:
    """List every network in every backend: ready, not implemented or not installed."""
    rows = []
    for name, entry in registry.networks().items():
        for backend in registry.frameworks():
            if backend == "numpy" and not entry.implements(backend):
                continue
            if backend != "numpy" and entry.implements("numpy") and not entry.implements(backend):
                continue
            if not entry.implements(backend):
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
                    "title": entry.card.title,
                    "framework": registry.BACKEND_TITLES.get(backend, backend),
                }
            )
    print_rows(rows, as_json=as_json)
