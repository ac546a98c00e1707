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

ROOT_COMMAND: Any = typer.main.get_command(app)
KNOWN = ("NAME", *available())
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(?:sh|bash|console)?\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(fetalbench [^`\n]+)`")
# What stands for something in a sentence, and something that it may stand for.
MEANINGS = {
    "--split …": "--split sub-01=train",
    "interactive|haste|bursts": "haste",
    " [--json]": " --json",
}


def commands(page: Path) -> list[str]:
    """Calls of fetalbench in the blocks and sentences of a page."""
    text = page.read_text(encoding="utf-8")
    lines = "\n".join(FENCE.findall(text)).replace("\\\n", " ").splitlines()
    lines = [re.split(r"\s#\s", line.strip().removeprefix("$ "))[0] for line in lines]
    lines += INLINE.findall(text)
    parts = [part.strip() for line in lines for part in re.split(r"\s(?:&&|[|>])\s|;", line)]
    return list(dict.fromkeys(part for part in parts if part.startswith("fetalbench ")))


CALLS = {page.name: found for page in PAGES if (found := commands(page))}


@pytest.mark.parametrize("page", CALLS)
def test_commands_in_the_documentation_are_ones_that_fetalbench_takes(page: str) -> None:
    wrong = [f"{line}: {why}" for line in CALLS[page] if (why := complaint(line))]
    assert wrong == []


def complaint(line: str) -> str | None:
    """What fetalbench would say of a command without running it, None if it would run."""
    for word, meaning in MEANINGS.items():
        line = line.replace(word, meaning)
    words, command = shlex.split(line)[1:], ROOT_COMMAND
    while (known := getattr(command, "commands", None)) and words:
        if words[0] in ("--install-completion", "--help", "--version"):
            return None
        if words[0] not in known:
            return f"there is no command {words[0]}"
        command, words = known[words[0]], words[1:]
    if known:
        return None
    names = [option for p in command.params for option in (*p.opts, *p.secondary_opts)]
    if unknown := [w for w in words if w.startswith("--") and w not in names]:
        return f"there is no option {unknown[0]}"
    # One that is only named in a sentence lacks its arguments.
    try:
        command.make_context("fetalbench", list(words), resilient_parsing=not words)
    except Exception as error:
        return str(getattr(error, "message", "") or error)
    protocols = [b for a, b in pairwise(words) if a == "--protocol" and not b.endswith(".toml")]
    return next((f"no protocol {name}" for name in protocols if name not in KNOWN), None)


def test_what_is_wrong_in_a_command_is_found() -> None:
    assert complaint("fetalbench run --protocol smoke --launch slurm --gpus 1") is None
    assert complaint("fetalbench rum") == "there is no command rum"
    assert complaint("fetalbench run --sedes 1") == "there is no option --sedes"
    assert "moon" in (complaint("fetalbench run --device moon") or "")
    assert complaint("fetalbench run --protocol papper") == "no protocol papper"
    assert "Missing parameter: network" in (complaint("fetalbench train --out x.safetensors") or "")


def test_the_documentation_is_found() -> None:
    lines = [line for found in CALLS.values() for line in found]
    assert len(lines) > 50
    assert {"run", "report", "status", "collect"} <= {line.split()[1] for line in lines}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_to_files_of_the_tree(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    # Pages that the site makes of the code or of files elsewhere.
    hooks = (ROOT / "docs" / "hooks.py").read_text(encoding="utf-8")
    made = re.findall(r'"([a-z-]+\.md)"', hooks) if page.parent.name == "docs" else []
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
