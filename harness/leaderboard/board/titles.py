"""What a reader calls a status, a backend, a test set and a latency."""

from __future__ import annotations

from harness import registry

SETS = ("normal", "challenging")
SET_TITLES = {"normal": "Normal", "challenging": "Challenging"}
QUANTITY_TITLES = {"end_to_end": "end to end", "forward": "forward"}
STATUS_TITLES = {
    "ok": "ok",
    "oom": "out of memory",
    "timeout": "timed out",
    "crashed": "crashed",
    "invalid": "invalid",
    "diverged": "diverged",
    "unsupported": "unsupported",
    "not_implemented": "not implemented",
    "todo": "to do",
}


def backend_title(name: str) -> str:
    """What a reader calls a backend."""
    return registry.BACKEND_TITLES.get(name, name)
