"""A new network from the template, in this tree or as a package of its own."""

from __future__ import annotations

import keyword
import re
from pathlib import Path

import architectures
from harness import registry
from harness.errors import EnvironmentFault, UsageError

TEMPLATE = Path(architectures.__file__).parent / "_template"
# A network's folder is a Python package, so its name must be importable.
IMPORTABLE = re.compile(r"^[a-z][a-z0-9_]{0,63}$")

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77"]
build-backend = "setuptools.build_meta"

[project]
name = "{package}"
version = "0.1.0"
description = "{title}, a network for fetalbench"
requires-python = ">=3.11"
dependencies = ["fetalbench"]

[project.entry-points."{group}"]
{name} = "{package}"

[tool.setuptools]
packages = ["{package}"]
"""


def new_network(name: str, folder: Path | None) -> list[Path]:
    """Write the template under `name`; returns the files.

    Into `architectures/` of this tree, or into `folder` as an installable package that announces
    the network by its entry point. Raises `UsageError` for a name that no package can have or that
    is taken, and if the folder exists.
    """
    _check(name)
    if folder is None:
        package = Path(architectures.__file__).parent / name
        if "site-packages" in package.parts or "dist-packages" in package.parts:
            raise UsageError(
                "fetalbench is installed, and an installed package is not written into: start the "
                f"network as a package of its own with --folder {name}."
            )
        top, extra = package, {}
    else:
        package = folder / f"fetalbench_{name}"
        words = {"package": package.name, "name": name, "title": title(name)}
        pyproject = PYPROJECT.format(group=registry.ENTRY_POINT_GROUP, **words)
        top, extra = folder, {folder / "pyproject.toml": pyproject}
    if top.exists() and (folder is None or any(top.iterdir())):
        raise UsageError(f"{top}: exists already; choose another name or folder.")
    contents = extra | {
        package / path.name: _renamed(path.read_text(encoding="utf-8"), name)
        for path in sorted(TEMPLATE.glob("*.py"))
    }
    try:
        package.mkdir(parents=True)
        for path, text in contents.items():
            path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise EnvironmentFault(
            f"{error.filename or package}: cannot be written ({error.strerror}); choose another "
            "place with --folder."
        ) from None
    return list(contents)


def title(name: str) -> str:
    """The name as a class is called: `fast_net` → `FastNet`."""
    return "".join(part.capitalize() for part in name.split("_"))


def _check(name: str) -> None:
    if not IMPORTABLE.fullmatch(name) or keyword.iskeyword(name):
        raise UsageError(
            f"network name {name!r} is not allowed: use lower-case letters, digits and '_', "
            "starting with a letter; Python's keywords are excluded."
        )
    if name in registry.networks() or name in ("template", "card"):
        raise UsageError(f"network {name!r} exists already: choose another name.")


def _renamed(text: str, name: str) -> str:
    return text.replace("Template", title(name)).replace("template", name)
