"""A new network from the template, in this tree or as a package of its own."""

from __future__ import annotations

import json
import keyword
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import architectures
from harness import registry
from harness.errors import EnvironmentFault, UsageError
from harness.jobs import interpreters
from harness.jobs.environment import worker_environment

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


LIBRARY_CARD = """\
\"\"\"What is known about {title} without importing a framework.\"\"\"

from __future__ import annotations

from architectures.card import Card

CARD = Card(
    title="{title}",
    summary="{source} of {module}, as the library builds it.",
    citation="{package}.",
    url="{url}",
    # Layers that the library builds and that take no part in the logits.
    unused={unused},
)
"""

LIBRARY_NET = """\
\"\"\"{title}: {source} of {module}, as the library builds it.\"\"\"

from __future__ import annotations

{imports}
{body}

def build(*, classes: int = 2, height: int = 256, width: int = 256) -> nn.Module:  # noqa: ARG001
    \"\"\"{title}; any multiple of {multiple} as `height` and `width`.\"\"\"
    return {made}
"""

WRAPPER = """

class {title}(nn.Module):
    \"\"\"Takes greyscale images and returns logits alone.\"\"\"

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, input: Tensor) -> Tensor:
        \"\"\"(n, 1, h, w) → logits (n, classes, h, w).\"\"\"
        return self.net({image}){part}

"""


def new_network(
    name: str, folder: Path | None, source: str = "", settings: Sequence[str] = ()
) -> list[Path]:
    """Write the template under `name`, or a library's network; returns the files.

    `source` is MODULE:NAME of a class or function, `settings` are its arguments as KEY=VALUE. Into
    `architectures/` of this tree, or into `folder` as an installable package that announces the
    network by its entry point. Raises `UsageError` for a name that no package can have or that is
    taken, if the folder exists, and for a source that cannot become a network.
    """
    _check(name)
    files = _of_library(name, source, settings) if source else _of_template(name)
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
    contents = extra | {package / file: text for file, text in files.items()}
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


def _of_template(name: str) -> dict[str, str]:
    paths = sorted(TEMPLATE.glob("*.py"))
    return {path.name: _renamed(path.read_text(encoding="utf-8"), name) for path in paths}


def _of_library(name: str, source: str, settings: Sequence[str]) -> dict[str, str]:
    found = _tried(source, settings)
    wrapped = found["colours"] or found["part"]
    imports = found["imports"] | {"torch": ["Tensor", "nn"] if wrapped else ["nn"]}
    lines = (f"from {module} import {', '.join(own)}" for module, own in sorted(imports.items()))
    arguments = "".join(f"        {key}={text},\n" for key, text in found["arguments"].items())
    words = {"title": title(name), "package": found["package"], "url": found["url"]}
    words |= {"module": found["module"], "source": found["name"], "imports": "\n".join(lines)}
    words |= {"multiple": found["multiple"], "unused": tuple(found["unused"])}
    body, made = "", f"{found['name']}(\n{arguments}    )"
    if wrapped:
        image = "input.expand(-1, 3, -1, -1)" if found["colours"] else "input"
        body = WRAPPER.format(title=title(name), image=image, part=found["part"])
        made = f"{title(name)}({made})"
    return {
        "__init__.py": f'"""{title(name)}: a card, and the network as its library builds it."""\n',
        "card.py": LIBRARY_CARD.format(**words),
        "torch_net.py": LIBRARY_NET.format(**words, body=body, made=made),
    }


def _tried(source: str, settings: Sequence[str]) -> dict[str, Any]:
    """What a process with PyTorch found out about a library's network. Raises `UsageError`."""
    for word in settings:
        if "=" not in word or not word.partition("=")[0].isidentifier():
            raise UsageError(f"--set {word!r}: expected KEY=VALUE, such as spatial_dims=2.")
    registry.require_framework("torch")
    done = subprocess.run(
        [interpreters.interpreter("torch"), "-m", "backends.torch_library", source, *settings],
        env=worker_environment("torch", "cpu", 1),
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        found = json.loads(done.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise UsageError(f"--from {source}: {last}") from None
    if "error" in found:
        raise UsageError(f"--from {found['error']}")
    return found


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
