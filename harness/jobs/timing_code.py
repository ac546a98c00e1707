"""A digest of the code that measures a cell, by which two runs know that they would do the same."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from pathlib import Path

from harness import registry
from harness.records.provenance import source_digest
from harness.records.schema import CellKey


def timing_code(cell: CellKey) -> str:
    """sha256 over the network, the backends, what measures, and the framework's versions."""
    return _digest(cell.network, cell.backend)


@cache
def _digest(network: str, backend: str) -> str:
    measuring = Path(__file__).parents[1] / "measuring"
    sources = [registry.network(network).folder, registry.BACKENDS_FOLDER, measuring]
    content = json.dumps([source_digest(sources), registry.framework_versions(backend)])
    return hashlib.sha256(content.encode()).hexdigest()
