"""JSON Schema of `leaderboard.json`; `make schema` writes it to docs/."""

from __future__ import annotations

from typing import Any

from harness.leaderboard.board.columns import COLUMNS
from harness.leaderboard.board.titles import SETS
from harness.leaderboard.exports import (
    IDENTITY_KEYS,
    JSON_SCHEMA_VERSION,
    ROW_KEYS,
    TIMING_KEYS,
)

TEXTS = {
    "dataset": "name of the data set",
    "dataset_hash": "sha256 of its slice table and arrays",
    "protocol": "name of the protocol",
    "protocol_hash": "sha256 of the resolved protocol",
    "machine": "name of the hardware; rows of two machines never share a table",
    "network": "key of the network",
    "title": "its name as its card writes it",
    "backend": "key of the backend",
    "plan": "execution plan that was timed; empty if none was",
    "precision": "precision of the plan",
    "status": "ok, the status of a record that failed, or todo",
    "reason": "one sentence if the status is not ok",
    "stamp": "'not publishable' if the latency must not be quoted",
    "forward_status": "status of the plan's forward latency at batch size 1; empty if not timed",
    "forward_reason": "one sentence if that status is not ok",
    "end_to_end_status": "status of the plan's end-to-end latency at batch 1; empty if not timed",
    "end_to_end_reason": "one sentence if that status is not ok",
    "flags": "what a reader must know, separated by semicolons",
    "command": "repeats the first record of the row",
    "record": "path of the first record behind the row",
}


def export_schema() -> dict[str, Any]:
    """The schema, in JSON Schema 2020-12; numbers are in the unit that the key names."""
    texts = {
        key: {"type": "string", "description": TEXTS[key]}
        for key in (*IDENTITY_KEYS, *ROW_KEYS, *TIMING_KEYS, "flags", "command", "record")
    }
    texts |= {
        f"{set_name}_tiers": {
            "type": "string",
            "description": f"tiers within the backend, {set_name} set, separated by commas; "
            "the data cannot tell networks in one tier apart",
        }
        for set_name in SETS
    }
    described = {c.key: c.title for c in COLUMNS}
    described |= {
        f"{c.key}_{end}": f"{end}er end of the 95 % interval of the {c.interval}"
        for c in COLUMNS
        if c.interval
        for end in ("low", "high")
    }
    numbers = {
        key: {"type": ["number", "null"], "description": text} for key, text in described.items()
    }
    column = {
        "group": {"type": "string"},
        "title": {"type": "string"},
        "better": {"enum": ["higher", "lower", None]},
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "leaderboard.json of fetalbench",
        **_object(
            {
                "schema_version": {"const": JSON_SCHEMA_VERSION},
                "columns": _object({c.key: _object(column) for c in COLUMNS}),
                "rows": {"type": "array", "items": _object(texts | numbers)},
            }
        ),
    }


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


if __name__ == "__main__":
    import json

    print(json.dumps(export_schema(), indent=1, ensure_ascii=False))
