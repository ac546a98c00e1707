"""Arrows: the harness knows no framework, and no wing imports against the stream."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "flax")


def modules(folder: str) -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "__main__.py"
    ]


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_importing_all_of_the_harness_imports_no_framework() -> None:
    code = f"""
import importlib, sys
for name in {modules("harness")!r}:
    importlib.import_module(name)
print(sorted(set(sys.modules) & set({FRAMEWORKS!r})))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


# Tenths of a second each; `--help` and `list` must answer at once.
HEAVY = ("numpy", "pandas", "scipy", "pyarrow", "matplotlib", "seaborn", "pydantic", "psutil")
HEAVY += ("nibabel", "jinja2", "safetensors", "rich")


def test_the_command_line_starts_with_nothing_heavy() -> None:
    code = f"import harness.cli, sys; print(sorted(set(sys.modules) & set({HEAVY!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_list_computes_nothing_and_imports_nothing_that_computes() -> None:
    # Typer itself brings pydantic where an option is parsed, and rich draws the table.
    heavy = set(HEAVY) - {"pydantic", "rich"}
    code = f"""
import sys
from harness.cli import app
try:
    app(["list"])
except SystemExit:
    print(sorted(set(sys.modules) & set({sorted(heavy)!r})))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert "rfbsnet" in done.stdout
    assert done.stdout.strip().splitlines()[-1] == "[]"


@pytest.mark.parametrize("module", ["architectures.card", "backends.contract", "backends.weights"])
def test_the_middle_ground_imports_neither_harness_nor_framework(module: str) -> None:
    others = ("harness", *FRAMEWORKS)
    code = f"import {module}, sys; print(sorted(set(sys.modules) & set({others!r})))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("wing", ["architectures", "backends"])
def test_networks_and_backends_know_no_experiment(wing: str) -> None:
    for path in (ROOT / wing).rglob("*.py"):
        assert not [n for n in imported(path) if n.split(".")[0] == "harness"], path


def test_the_leaderboard_knows_no_backend() -> None:
    for path in (ROOT / "harness" / "leaderboard").rglob("*.py"):
        wrong = [n for n in imported(path) if n.startswith("backends.") or n == "harness.launch"]
        assert not wrong, path
