"""The documentation: its commands are commands, its links lead somewhere, the site builds."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import typer

from harness.cli import app
from harness.protocol import available
from tests.conftest import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(fetalbench [^`]+)`")
# What stands for something in a sentence, and what it may stand for.
PLACEHOLDERS = {"…": "", "--preset interactive|haste|bursts": "--preset haste"}


def commands(page: Path) -> list[str]:
    """Calls of fetalbench in the blocks and sentences of a page."""
    text = page.read_text(encoding="utf-8")
    blocks = "\n".join(FENCE.findall(text)).replace("\\\n", " ")
    found = [match[1] for line in blocks.splitlines() for match in INLINE.finditer(f"`{line}`")]
    for line in blocks.splitlines():
        words = line.removeprefix("$ ").strip()
        for part in re.split(r"\s(?:&&|\||>)\s|;", words.partition("  #")[0].partition(" # ")[0]):
            if part.strip().startswith("fetalbench "):
                found.append(part.strip())
    for match in INLINE.finditer(text):
        found += [part for part in match[1].split(" && ") if part.startswith("fetalbench ")]
    return list(dict.fromkeys(found))


CALLS = [(page.name, line) for page in PAGES for line in commands(page)]


@pytest.mark.parametrize(("page", "line"), CALLS, ids=lambda value: value)
def test_a_command_in_the_documentation_is_one_that_fetalbench_takes(page: str, line: str) -> None:
    for word, meaning in PLACEHOLDERS.items():
        line = line.replace(word, meaning)
    # An option that may be left out.
    words = shlex.split(re.sub(r"\[(--[a-z-]+)\]", r"\1", line))[1:]
    command: Any = typer.main.get_command(app)
    name = "fetalbench"
    while _is_group(command) and words and not words[0].startswith("-"):
        assert words[0] in command.commands, f"{page}: there is no `{name} {words[0]}`"
        command, name = command.commands[words[0]], f"{name} {words[0]}"
        words = words[1:]
        if not words and _is_group(command):
            return
    options = {option for parameter in command.params for option in parameter.opts}
    options |= {option for parameter in command.params for option in parameter.secondary_opts}
    if {*words} <= {"--install-completion", "--help", "--version"}:
        return
    used = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert used <= options, f"{page}: `{name}` has no {', '.join(sorted(used - options))}"
    if "=" not in line or "--" in line:
        command.make_context(name, _without_names_alone(words, command), resilient_parsing=False)
    for before, word in pairwise(words):
        if before == "--protocol" and not word.endswith(".toml"):
            assert word in available()


def _is_group(command: Any) -> bool:
    return bool(getattr(command, "commands", None))


def _without_names_alone(words: list[str], command: Any) -> list[str]:
    """A command that is only named in a sentence, with its arguments filled in."""
    given = [word for word in words if not word.startswith("-")]
    if words or given:
        return words
    needed = [p for p in command.params if p.required and p.param_type_name == "argument"]
    filled = ["name" for _ in needed]
    for parameter in command.params:
        if parameter.required and parameter.param_type_name == "option":
            filled += [parameter.opts[0], "value"]
    return filled


def test_the_documentation_is_found() -> None:
    assert len(CALLS) > 50
    assert {"run", "report", "status", "collect"} <= {line.split()[1] for _, line in CALLS}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_of_the_tree(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    made = {"schema.md", "protocol-keys.md"} if page.parent.name == "docs" else set[str]()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path = target.partition("#")[0]
        if path and "://" not in target and path not in made:
            assert (page.parent / path).exists(), f"{page.name} links to {target}"


def test_the_site_builds_without_a_warning_and_asks_nobody_for_anything(tmp_path: Path) -> None:
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    record = (tmp_path / "schema" / "index.html").read_text(encoding="utf-8")
    for key in ("schema_version", "dataset_hash", "median_ms", "weights_sha256"):
        assert f"<code>{key}</code>" in record
    assert not (tmp_path / "hooks.py").exists()
    for page in tmp_path.rglob("*.html"):
        loaded = re.findall(
            r"<(?:script|img|iframe|link)[^>]*?(?:src|href)=[\"']?([^\"'\s>]+)", page.read_text()
        )
        assert [url for url in loaded if "://" in url] == [], page.name
