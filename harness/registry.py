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
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import architectures
import backends
from architectures.card import Card
from backends.contract import Backend, MissingFramework
from harness.errors import UsageError

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
    """One network that the registry knows."""

    name: str
    package: str
    folder: Path

    @property
    def card(self) -> Card:
        """The card. Raises `UsageError` where the package holds none."""
        try:
            card = importlib.import_module(f"{self.package}.card").CARD
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"network {self.name!r}: {self.folder}/card.py gives no CARD ({error})."
            ) from None
        if not isinstance(card, Card):
            raise UsageError(f"network {self.name!r}: CARD in {self.folder}/card.py is no Card.")
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
            name=folder.name, package=f"architectures.{folder.name}", folder=folder
        )
        for folder in sorted(root.iterdir())
        if (folder / "card.py").is_file() and not folder.name.startswith("_")
    }
    for point in sorted(entry_points(group=ENTRY_POINT_GROUP), key=lambda point: point.name):
        name = check_name(point.name, "network")
        if name in found:
            raise UsageError(
                f"network {name!r} of package {point.value!r} is taken already: rename it there."
            )
        spec = importlib.util.find_spec(point.value)
        if spec is None or not spec.submodule_search_locations:
            raise UsageError(f"network {name!r}: package {point.value!r} cannot be found.")
        folder = Path(next(iter(spec.submodule_search_locations)))
        found[name] = NetworkEntry(name=name, package=point.value, folder=folder)
    return found


@cache
def backend_names() -> tuple[str, ...]:
    """All backends, PyTorch first and NumPy last; Keras' other engines behind Keras."""
    root = Path(backends.__file__).parent
    stems = {path.name.removesuffix("_backend.py") for path in root.glob("*_backend.py")}
    if "keras" in stems:
        stems |= KERAS_ENGINES.keys()
    order = list(BACKEND_TITLES)
    return tuple(sorted(stems, key=lambda s: (order.index(s) if s in order else len(order), s)))


def frameworks() -> tuple[str, ...]:
    """The backends that a grid covers by default: one row a framework, no second engines."""
    return tuple(
        name for name in backend_names() if KERAS_ENGINES.get(name) in (None, "tensorflow")
    )


def network(name: str) -> NetworkEntry:
    """The network of that name; case and punctuation do not matter. Raises `UsageError`."""
    return networks()[_resolve(name, networks(), "network")]


def backend(name: str) -> str:
    """The name of a backend, aliases resolved. Raises `UsageError` with the nearest name."""
    return _resolve(BACKEND_ALIASES.get(name.lower(), name), backend_names(), "backend")


def _resolve(name: str, known: Iterable[str], what: str) -> str:
    known = tuple(known)
    if name in known:
        return name
    plain = {_plain(candidate): candidate for candidate in known}
    if _plain(name) in plain:
        return plain[_plain(name)]
    close = get_close_matches(_plain(name), plain, n=1, cutoff=0.4)
    hint = f"did you mean {plain[close[0]]!r}?" if close else f"known are {', '.join(known)}."
    raise UsageError(f"unknown {what} {name!r}: {hint}")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def _stem(backend_name: str) -> str:
    return "keras" if backend_name in KERAS_ENGINES else backend_name


def missing_modules(name: str) -> tuple[str, ...]:
    """Modules that the backend needs and that are not installed here."""
    modules, _ = BACKEND_NEEDS.get(name, ((), ""))
    return tuple(module for module in modules if importlib.util.find_spec(module) is None)


def require_framework(name: str) -> None:
    """Raise `MissingFramework` with the remedy unless the backend's framework is installed."""
    missing = missing_modules(name)
    if missing:
        extra = BACKEND_NEEDS[name][1]
        raise MissingFramework(
            f"backend {name!r} needs {' and '.join(missing)}, which is not installed: "
            f"pip install 'fetalbench[{extra}]'."
        )


def load_backend(name: str) -> type[Backend]:
    """Import the backend's class, and with it its framework. Raises `MissingFramework`."""
    require_framework(name)
    stem = _stem(name)
    module = importlib.import_module(f"backends.{stem}_backend")
    return getattr(module, f"{stem.capitalize()}Backend")


def load_builder(entry: NetworkEntry, backend_name: str) -> Callable[..., Any]:
    """Import the network's `build` for a backend. Raises `UsageError` where there is none."""
    stem = _stem(backend_name)
    if not entry.implements(backend_name):
        raise UsageError(
            f"network {entry.name!r} is not implemented for {backend_name!r}: "
            f"add {stem}_net.py to its folder or choose another backend."
        )
    return importlib.import_module(f"{entry.package}.{stem}_net").build
