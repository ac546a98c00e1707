"""A protocol as a TOML file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from harness.protocol import Protocol

_BARE = re.compile(r"[A-Za-z0-9_-]+")


def as_toml(protocol: Protocol, remarks: Mapping[tuple[str, ...], str]) -> str:
    """The protocol with every value that is not the default; `remarks` are comments by path.

    The comment of the empty path stands above all.
    """
    lines = [f"# {line}" for line in remarks.get((), "").splitlines()]
    tables = protocol.model_dump(mode="json", exclude_defaults=True)
    return "\n".join([*lines, *_lines(tables, (), remarks)]).strip() + "\n"


def _lines(
    table: Mapping[str, Any], path: tuple[str, ...], remarks: Mapping[tuple[str, ...], str]
) -> list[str]:
    lines = []
    for key, value in table.items():
        if not isinstance(value, dict):
            remark = remarks.get((*path, key), "")
            lines.append(f"{_key(key)} = {_value(value)}" + (f"  # {remark}" if remark else ""))
    for key, value in table.items():
        if isinstance(value, dict) and value:
            own = (*path, key)
            inner = _lines(value, own, remarks)
            if any(not isinstance(item, dict) for item in value.values()):
                inner = ["", f"[{'.'.join(map(_key, own))}]", *inner]
            lines += inner
    return lines


def _key(key: str) -> str:
    return key if _BARE.fullmatch(key) else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_value, value))}]"
    # Strings, numbers, true and false of JSON are TOML's; there is no null among them.
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
