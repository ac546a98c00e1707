"""Which Python runs the workers of a backend: its own environment where there is one.

On a GPU the CUDA libraries of PyTorch and those of TensorFlow and JAX overwrite each other's files
in one environment. Each framework then has its own, and a table says where. It is read from the
variable FETALBENCH_INTERPRETERS (`torch=PATH,keras=PATH,flax=PATH`; empty: no table), else from
`fetalbench-interpreters.toml` in the environment that runs the harness. A PATH is an interpreter
or the folder of a virtual environment. Without a table one interpreter serves all.

`python -m harness.jobs.interpreters torch=.venv-torch ...` writes the file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

from harness.errors import EnvironmentFault, UsageError

VARIABLE = "FETALBENCH_INTERPRETERS"
FILE = "fetalbench-interpreters.toml"
NAMES = ("torch", "keras", "flax")
# Keras' other engines live with the framework that they compute with.
_SERVED_BY = {"keras-torch": "torch", "keras-jax": "flax"}
ASK_SECONDS = 60
# Modules are asked for by name; a package may come under the name of its CPU or GPU build.
_QUESTION = """
import json, sys
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
def found(module):
    for package in (module, module + "-cpu", module + "-gpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            pass
    return "of unknown version"
print(json.dumps({m: found(m) if find_spec(m) else None for m in sys.argv[1:]}))
"""


def table_file() -> Path:
    """Where the table of this environment lies."""
    return Path(sys.prefix) / FILE


def table() -> dict[str, str]:
    """Interpreter by framework, as absolute paths. Raises `UsageError`, `EnvironmentFault`."""
    if VARIABLE in os.environ:
        pairs, source = _pairs(os.environ[VARIABLE].split(","), VARIABLE), VARIABLE
    elif table_file().is_file():
        try:
            pairs = tomllib.loads(table_file().read_text(encoding="utf-8"))
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{table_file()}: is not TOML ({error}).") from None
        source = str(table_file())
    else:
        return {}
    return {name: _interpreter(name, value, source) for name, value in pairs.items()}


def interpreter(backend: str) -> str:
    """The Python that runs workers of the backend; this one where the table names no other."""
    return table().get(_SERVED_BY.get(backend, backend), sys.executable)


def is_apart(backend: str) -> bool:
    """Whether workers of the backend run in another environment than this process."""
    # Not resolved: the interpreters of virtual environments are links to the same file.
    return interpreter(backend) != sys.executable


def versions(modules: Iterable[str], backend: str = "") -> dict[str, str | None]:
    """Version of each top-level module where the backend's workers run, None if it is missing.

    Nothing is imported. Raises `EnvironmentFault` if the interpreter does not answer.
    """
    names = tuple(modules)
    if not backend or not is_apart(backend):
        return {name: _version(name) if find_spec(name) else None for name in names}
    return _ask(interpreter(backend), names)


def _version(module: str) -> str:
    for package in (module, f"{module}-cpu", f"{module}-gpu"):
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return "of unknown version"


@cache
def _ask(python: str, modules: tuple[str, ...]) -> dict[str, str | None]:
    try:
        done = subprocess.run(
            [python, "-P", "-c", _QUESTION, *modules],
            capture_output=True,
            text=True,
            timeout=ASK_SECONDS,
            check=True,
        )
        return json.loads(done.stdout)
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise EnvironmentFault(
            f"{python}: does not tell its packages ({type(error).__name__}): make the environment "
            "again (make install) or correct the table of interpreters."
        ) from None


def _pairs(words: Iterable[str], source: str) -> dict[str, str]:
    found = {}
    for word in filter(None, (word.strip() for word in words)):
        name, sign, value = word.partition("=")
        if not sign or not value:
            raise UsageError(f"{source}: {word!r} is not NAME=PATH, such as torch=.venv-torch.")
        found[name] = value
    return found


def _interpreter(name: str, value: str, source: str) -> str:
    if name not in NAMES or not isinstance(value, str):
        raise UsageError(f"{source}: {name!r}: expected a path for one of {', '.join(NAMES)}.")
    path = Path(os.path.abspath(value))  # noqa: PTH100 - a link must stay a link
    if path.is_dir():
        path = path / "bin" / "python"
    if not os.access(path, os.X_OK):
        raise EnvironmentFault(
            f"{source}: the interpreter of {name}, {path}, is not there: make the environment "
            "again (make install) or correct the table."
        )
    return str(path)


def main() -> int:
    """Write the table from NAME=PATH words; without words, remove it."""
    pairs = _pairs(sys.argv[1:], "arguments")
    if not pairs:
        table_file().unlink(missing_ok=True)
        return 0
    made = {name: _interpreter(name, value, "arguments") for name, value in pairs.items()}
    lines = [f"{name} = {json.dumps(path)}\n" for name, path in made.items()]
    table_file().write_text("".join(lines), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
