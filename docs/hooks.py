"""What the site has beside the files of this folder: records key by key, and the model card."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from harness.deploy.pretrained import FOLDER
from harness.records.schema import Record

RECORD = """# The record, key by key

A cell leaves `record.json`, strict JSON with these keys, and its raw samples beside it. The same as
a [JSON Schema](record.schema.json); that of `leaderboard.json` is [here](leaderboard.schema.json).
"""


# A link out of docs/, which leads somewhere in the repository only.
OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add pages that mkdocs.yml does not place to its last section."""
    nav: list[Any] = config.nav or []
    pages = sorted(path.name for path in Path(config.docs_dir).glob("*.md"))
    ((title, last),) = nav[-1].items()
    nav[-1] = {title: last + [name for name in pages if f"'{name}'" not in str(nav)]}
    return config


def on_page_markdown(markdown: str, **_: Any) -> str:
    """On the site such a link is the file's name."""
    return OUTSIDE.sub(lambda found: f"{found[1]} (`{found[2]}`)", markdown)


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the two pages."""
    card = (FOLDER / "rfbsnet.md").read_text(encoding="utf-8")
    files.append(File.generated(config, "model-card.md", content=card))
    content = RECORD + "".join(_tables(Record.model_json_schema()))
    files.append(File.generated(config, "schema.md", content=content))
    return files


def _tables(schema: dict[str, Any]) -> list[str]:
    """A heading and a table for the model, then for each model that its keys hold."""
    parts = [_table(schema["title"], schema)]
    return parts + [_table(name, part) for name, part in schema.get("$defs", {}).items()]


def _table(title: str, schema: dict[str, Any]) -> str:
    head = [f"\n## {title}\n", schema.get("description", "").partition("\n\n")[0] + "\n"]
    head += ["| key | what it holds | if left out | |", "|---|---|---|---|"]
    required = schema.get("required", ())
    for name, field in schema.get("properties", {}).items():
        default = "" if name in required else _code(field["default"]) if "default" in field else ""
        words = field.get("description", "").replace("|", "\\|")
        head.append(f"| `{name}` | {_kind(field)} | {default} | {words} |")
    return "\n".join(head) + "\n"


def _code(value: Any) -> str:
    text = repr(value)
    return f"`{text}`" if len(text) <= 60 else ""


def _kind(field: dict[str, Any]) -> str:
    """The type of a field in words, with a link to the table of a model."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in field:
        return " or ".join(_kind(option) for option in field["anyOf"])
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    if "const" in field:
        return f"`{field['const']}`"
    kind = field.get("type", "anything")
    if kind == "array":
        return f"list of {_kind(field.get('items', {}))}"
    if kind == "object" and isinstance(field.get("additionalProperties"), dict):
        return f"by name: {_kind(field['additionalProperties'])}"
    return {"integer": "whole number", "null": "nothing", "object": "table"}.get(kind, kind)
