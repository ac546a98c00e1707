"""The arrows of docs/architecture.md: who may import whom, and what start-up may import."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FRAMEWORKS = ("torch", "tensorflow", "keras", "jax", "flax")


def modules(folder: str) -> list[str]:
    return [
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if path.name != "__main__.py"
    ]


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


# What any room may import, and what those files may import in turn.
BASE = {
    "errors": set[str](),
    "cores": {"errors"},
    # What is installed is asked of the interpreter that a backend's workers run with.
    "registry": {"errors", "jobs.interpreters"},
    "protocol": {"errors", "registry", "data.augmentation_levels"},
}
LOOSE = {*BASE, "scaffold", "doctor"}
# The arrows of docs/architecture.md: a room, or one module of it.
ARROWS: dict[str, set[str]] = BASE | {
    # Tries a library's network where PyTorch is.
    "scaffold": {"jobs"},
    "doctor": {"jobs", "measuring"},
    "data": set(),
    "records": set(),
    "metrics": {"records.schema"},
    "statistics": {"metrics"},
    "measuring": {"records.schema", "statistics"},
    "jobs": {"data", "records"},
    "run": {"data", "jobs", "measuring.entries", "measuring.profiles", "records"},
    "worker": {"data", "jobs", "measuring", "metrics", "records"},
    "checks": {"jobs", "measuring.cost"},
    "deploy": {"checks", "data", "measuring.gates", "records"},
    "leaderboard": {"metrics", "records", "statistics"},
    "cli": {
        *("checks", "data", "deploy", "doctor", "jobs", "leaderboard", "measuring", "records"),
        *("run", "scaffold", "statistics"),
    },
}
WINGS = ("architectures", "backends", "harness")
SOURCES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for wing in WINGS
    for path in sorted((ROOT / wing).rglob("*.py"))
}


def imported(path: Path) -> set[str]:
    """Modules that a file names in imports: at its top, in functions and for type checkers."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module, f"{path}: relative import"
            members = {f"{node.module}.{alias.name}" for alias in node.names}
            modules = members & SOURCES.keys()
            names |= modules if len(modules) == len(members) else {node.module, *modules}
    return names


IMPORTS = {name: imported(path) for name, path in SOURCES.items()}


def room(module: str) -> str:
    """`harness.run.grid` → `run`."""
    return module.split(".")[1] if "." in module else module


@pytest.mark.parametrize("name", sorted(ARROWS))
def test_arrows_run_one_way(name: str) -> None:
    allowed = ARROWS[name] if name in BASE else ARROWS[name] | BASE.keys()
    wrong = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        if module.startswith("harness.") and room(module) == name
        for target in sorted(targets)
        if target.startswith("harness.") and room(target) != name
        if room(target) not in allowed and ".".join(target.split(".")[1:3]) not in allowed
    ]
    assert wrong == []


def test_run_and_worker_never_meet() -> None:
    """Not through any other room either: the parent must not import what the worker does."""
    for start, forbidden in (("run", "worker"), ("worker", "run")):
        seen, waiting = set[str](), [m for m in SOURCES if m.startswith(f"harness.{start}.")]
        while waiting:
            module = waiting.pop()
            assert not module.startswith(f"harness.{forbidden}"), f"{start} reaches {module}"
            if module not in seen:
                seen.add(module)
                waiting += [target for target in IMPORTS[module] if target in SOURCES]


def test_no_import_circle_anywhere() -> None:
    graph = {name: targets & SOURCES.keys() - {name} for name, targets in IMPORTS.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_root_of_the_harness_holds_rooms_and_the_few_named_files() -> None:
    files = {path.stem for path in (ROOT / "harness").glob("*.py")} - {"__init__"}
    assert files <= LOOSE
    rooms = {path.parent.name for path in (ROOT / "harness").glob("*/__init__.py")}
    assert rooms == ARROWS.keys() - LOOSE


@pytest.mark.parametrize(
    ("wing", "forbidden"),
    [
        ("harness", FRAMEWORKS),
        ("harness.leaderboard", ("backends",)),
        ("architectures", ("harness",)),
        ("backends", ("harness", "architectures")),
    ],
)
def test_what_a_wing_must_not_know(wing: str, forbidden: tuple[str, ...]) -> None:
    wrong = [
        f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        if module.startswith(wing)
        for target in targets
        if target.split(".")[0] in forbidden
    ]
    assert wrong == []
