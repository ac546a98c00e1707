"""Finds networks and backends without importing a framework.

Networks are the folders of `architectures/` that hold a `card.py`, plus those that other packages
announce under the entry-point group `fetalbench.architectures` (name = network id, value = the
package with the card). Backends are the files `backends/<name>_backend.py`.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any

import architectures
import backends
from architectures.card import Card
from backends.errors import MissingFramework, plain_name
from harness.errors import UsageError, unknown
from harness.jobs import interpreters

if TYPE_CHECKING:
    from backends.contract import Backend, Network

BACKENDS_FOLDER = Path(backends.__file__).parent
ENTRY_POINT_GROUP = "fetalbench.architectures"
NAME_PATTERN = re.compile(r"^[a-z0-9][a-z0-9_.-]{0,63}$")

# What people call the frameworks, beside the names of our files. The Keras rows with another
# engine are served by the one Keras file.
BACKEND_ALIASES = {"pytorch": "torch", "tensorflow": "keras", "tf": "keras", "jax": "flax"}
KERAS_ENGINES = {"keras": "tensorflow", "keras-jax": "jax", "keras-torch": "torch"}
BACKEND_TITLES = {
    "torch": "PyTorch",
    "keras": "Keras (TensorFlow)",
    "keras-jax": "Keras (JAX engine)",
    "keras-torch": "Keras (PyTorch engine)",
    "flax": "JAX / Flax",
    "numpy": "NumPy",
}
# The module whose presence tells that a framework is installed, and the extra that brings it.
BACKEND_NEEDS = {
    "torch": (("torch",), "torch"),
    "keras": (("keras", "tensorflow"), "keras"),
    "keras-jax": (("keras", "jax"), "keras,jax"),
    "keras-torch": (("keras", "torch"), "keras,torch"),
    "flax": (("flax", "jax"), "jax"),
}


@dataclass(frozen=True, kw_only=True)
class NetworkEntry:
    """One network that the registry knows; `fault` says why it was found and cannot be used."""

    name: str
    package: str
    folder: Path
    fault: str = ""
    source: str = ""  # the installed package that announces it

    @property
    def card(self) -> Card:
        """The card. Raises `UsageError`, naming the file, if it cannot be imported."""
        source = f" of {self.source}" if self.source else ""
        if self.fault:
            raise UsageError(f"network {self.name!r}{source}: {self.fault}")
        path = self.folder / "card.py"
        try:
            card = importlib.import_module(f"{self.package}.card").CARD
        # Somebody's code runs here, and one card must not take the other networks with it.
        except (Exception, SystemExit) as error:
            if isinstance(error, SyntaxError):
                what = f"line {error.lineno}: {error.msg}"
            else:
                what = f"{type(error).__name__}: {' '.join(str(error).split())}"
            raise UsageError(
                f"network {self.name!r}{source}: {path} gives no CARD ({what})."
            ) from None
        if not isinstance(card, Card):
            raise UsageError(f"network {self.name!r}{source}: CARD in {path} is not a Card.")
        return card

    def implements(self, backend: str) -> bool:
        """Whether the network has a file for the backend."""
        return (self.folder / f"{_stem(backend)}_net.py").is_file()


def check_name(name: str, what: str) -> str:
    """Return `name` if it is safe in paths and pages. Raises `UsageError` if not."""
    if not NAME_PATTERN.fullmatch(name):
        raise UsageError(
            f"{what} name {name!r} is not allowed: use lower-case letters, digits, '.', '_' and "
            "'-', at most 64 characters, starting with a letter or digit."
        )
    return name


@cache
def networks() -> dict[str, NetworkEntry]:
    """All networks by name: those of the tree in alphabetical order, then those of plugins."""
    root = Path(architectures.__file__).parent
    found = {
        folder.name: NetworkEntry(
            name=folder.name,
            package=f"architectures.{folder.name}",
            folder=folder,
            fault=_name_fault(folder.name),
        )
        for folder in sorted(root.iterdir())
        if (folder / "card.py").is_file() and not folder.name.startswith("_")
    }
    points = entry_points(group=ENTRY_POINT_GROUP)
    for point in sorted(points, key=lambda point: (point.name, point.value)):
        entry = _plugin(point)
        if point.name in found:
            # Listed under a name that cannot be asked for; the network that was there first stays.
            fault = f"the name is taken by {found[point.name].package}: rename it in that package"
            entry = replace(entry, name=f"{point.name} of {point.value}", fault=f"{fault}.")
        found[entry.name] = entry
    return found


def _name_fault(name: str) -> str:
    try:
        check_name(name, "network")
    except UsageError as error:
        return str(error)
    return ""


def _plugin(point: EntryPoint) -> NetworkEntry:
    name, package = point.name, point.value
    source = f"package {point.dist.name if point.dist else package!r}"
    fault, folder = _name_fault(name), Path(package)
    try:
        # Imports the packages around it, whose code may do anything.
        spec = importlib.util.find_spec(package)
    except (Exception, SystemExit):
        spec = None
    if spec is not None and spec.submodule_search_locations:
        folder = Path(next(iter(spec.submodule_search_locations)))
    else:
        fault = fault or f"{package!r} cannot be imported: install it again, or remove it."
    return NetworkEntry(name=name, package=package, folder=folder, fault=fault, source=source)


@cache
def backend_names() -> tuple[str, ...]:
    """All backends, PyTorch first and NumPy last; Keras' other engines behind Keras."""
    files = BACKENDS_FOLDER.glob("*_backend.py")
    stems = {path.name.removesuffix("_backend.py") for path in files}
    if "keras" in stems:
        stems |= KERAS_ENGINES.keys()
    order = list(BACKEND_TITLES)
    return tuple(sorted(stems, key=lambda s: (order.index(s) if s in order else len(order), s)))


def frameworks() -> tuple[str, ...]:
    """The backends that a grid covers by default: one per framework, no second engines."""
    return tuple(
        name for name in backend_names() if KERAS_ENGINES.get(name) in (None, "tensorflow")
    )


def network_name(name: str) -> str:
    """The name of a network; case and punctuation do not matter. Raises `UsageError`."""
    return _resolve(name, networks(), "network")


def network(name: str) -> NetworkEntry:
    """The network of that name; case and punctuation do not matter.

    Raises `UsageError` with the nearest name, or with what is wrong with the network's card.
    """
    entry = networks()[network_name(name)]
    # A network without a card could neither be trained nor recorded: refused before it is tried.
    _ = entry.card
    return entry


def usable_networks() -> list[str]:
    """The names of all networks whose card can be read: one that is broken stops no other."""
    found = []
    for name, entry in networks().items():
        with suppress(UsageError):
            _ = entry.card
            found.append(name)
    return found


def backend(name: str) -> str:
    """The name of a backend, aliases resolved. Raises `UsageError` with the nearest name."""
    return _resolve(BACKEND_ALIASES.get(name.lower(), name), backend_names(), "backend")


def _resolve(name: str, known: Iterable[str], what: str) -> str:
    known = tuple(known)
    if name in known:
        return name
    plain = {plain_name(candidate): candidate for candidate in known}
    if plain_name(name) in plain:
        return plain[plain_name(name)]
    raise unknown(what, name, known)


def _stem(backend_name: str) -> str:
    return "keras" if backend_name in KERAS_ENGINES else backend_name


def missing_modules(name: str) -> tuple[str, ...]:
    """Modules that the backend needs and that are not installed where its workers run."""
    return missing(BACKEND_NEEDS.get(name, ((), ""))[0], name)


def missing(modules: Iterable[str], backend: str = "") -> tuple[str, ...]:
    """Those of the top-level modules that the backend's environment lacks; "" is this one."""
    found = interpreters.versions(modules, backend)
    return tuple(module for module, version in found.items() if version is None)


def framework_versions(name: str) -> dict[str, str]:
    """Versions of the modules that the backend needs, read without importing them."""
    modules, _ = BACKEND_NEEDS.get(name, ((), ""))
    return {module: installed_version(module, name) for module in modules}


def installed_version(module: str, backend: str = "") -> str:
    """The version of a module where the backend's workers run; "" is this environment."""
    return interpreters.versions([module], backend)[module] or "of unknown version"


def require_framework(name: str) -> None:
    """Raise `MissingFramework` with the remedy unless the backend's framework is installed."""
    absent = missing_modules(name)
    if absent:
        extra = BACKEND_NEEDS[name][1]
        raise MissingFramework(
            f"backend {name!r} needs {' and '.join(absent)}, which is not installed: "
            f"pip install 'fetalbench[{extra}]'."
        )


def load_backend(name: str) -> type[Backend]:
    """Import the backend's class, and with it its framework. Raises `MissingFramework`."""
    require_framework(name)
    if missing(BACKEND_NEEDS.get(name, ((), ""))[0]):
        raise MissingFramework(
            f"backend {name!r} has an environment of its own: run this command with "
            f"{interpreters.interpreter(name)} -m harness.cli."
        )
    stem = _stem(name)
    module = importlib.import_module(f"backends.{stem}_backend")
    return getattr(module, f"{stem.capitalize()}Backend")


def require_implementation(entry: NetworkEntry, backend_name: str) -> None:
    """Raise `UsageError` unless the network has a file for the backend."""
    if not entry.implements(backend_name):
        raise UsageError(
            f"network {entry.name!r} is not implemented for {backend_name!r}: "
            f"add {_stem(backend_name)}_net.py to its folder or choose another backend."
        )


def load_builder(entry: NetworkEntry, backend_name: str) -> Callable[..., Any]:
    """Import the network's `build` for a backend. Raises `UsageError` if there is none."""
    require_implementation(entry, backend_name)
    return importlib.import_module(f"{entry.package}.{_stem(backend_name)}_net").build


def build(backend: Backend, name: str, *, height: int, width: int, classes: int = 2) -> Network:
    """Build a network of the registry in a loaded backend; its weights are not set yet.

    Raises `UsageError` if the network has no file for the backend, `SizeError` for a size that it
    cannot take.
    """
    builder = load_builder(network(name), backend.name)
    return backend.build(builder, classes=classes, height=height, width=width)
