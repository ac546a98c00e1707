"""`fetalbench protocols`: what comes with fetalbench, and every key of a protocol.

docs/protocol-keys.md is the same from the same model (`make schema`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer

from harness.cli.options import AsJson, print_rows

INTRODUCTION = """# The protocol, key by key

A protocol is a TOML file with these keys; an unknown one is an error. [Protocols](protocols.md)
says more, and what enters the hash. `fetalbench protocols NAME` shows this with the values of one
protocol; `make schema` has written this page.
"""


def protocols(
    name: Annotated[
        str, typer.Argument(help="A protocol or a .toml file: show its keys; default: list all.")
    ] = "",
    as_json: AsJson = False,
    markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the page docs/protocol-keys.md.")
    ] = False,
) -> None:
    """List the protocols that come with fetalbench, or show every key of one."""
    from harness.protocol import load_protocol

    if markdown:
        typer.echo(document(), nl=False)
        return
    if not name:
        print_rows(_listed(), as_json=as_json)
        return
    chosen = load_protocol(name)
    values = chosen.model_dump(mode="json")
    rows = [
        {
            "key": key,
            "value": _text(_at(values, key)),
            "default": _text(field.get("default")),
            "allowed": _allowed(field),
            "meaning": field["description"],
        }
        for key, field in keys()
    ]
    print_rows(rows, as_json=as_json, title=f"{chosen.name}: {chosen.description}")


def _listed() -> list[dict[str, Any]]:
    from harness.protocol import available, load_protocol

    return [
        {"protocol": name, "description": load_protocol(name).description} for name in available()
    ]


def keys() -> Iterator[tuple[str, dict[str, Any]]]:
    """Every key with its field of the JSON Schema: type, limits, default, description."""
    from harness.protocol import Protocol

    schema = Protocol.model_json_schema()
    for name, field in schema["properties"].items():
        if "$ref" not in field:
            yield name, field
            continue
        section = schema["$defs"][field["$ref"].rsplit("/", 1)[-1]]
        for key, inner in section["properties"].items():
            yield f"{name}.{key}", inner


def _at(values: Mapping[str, Any], key: str) -> Any:
    for part in key.split("."):
        values = values[part]
    return values


def _text(value: Any) -> str:
    """A value as TOML writes it; nothing for none."""
    return "" if value is None or value == {} else json.dumps(value, ensure_ascii=False)


def _allowed(field: Mapping[str, Any]) -> str:
    """What a value may be, in words."""
    if "anyOf" in field:
        return next(_allowed(one) for one in field["anyOf"] if one.get("type") != "null")
    if "enum" in field:
        return ", ".join(map(str, field["enum"]))
    if field.get("type") == "array":
        return f"list of {_allowed(field['items'])}"
    kinds = {"integer": "whole number", "boolean": "true or false", "string": "text"}
    kinds |= {"object": "table"}
    words = [kinds.get(field.get("type", ""), str(field.get("type", "text")))]
    signs = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
    words += [f"{sign} {field[key]:g}" for key, sign in signs.items() if key in field]
    return " ".join(words)


def document() -> str:
    """The page docs/protocol-keys.md."""
    lines = [INTRODUCTION, "| protocol | what it is |", "|---|---|"]
    lines += [f"| `{row['protocol']}` | {row['description']} |" for row in _listed()]
    lines += ["", "| key | allowed | default | meaning |", "|---|---|---|---|"]
    for key, field in keys():
        default = f"`{_text(field['default'])}`" if _text(field.get("default")) else ""
        lines.append(f"| `{key}` | {_allowed(field)} | {default} | {field['description']} |")
    return "\n".join(lines) + "\n"
