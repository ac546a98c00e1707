"""What the contract suite asks of a framework: `<backend>_hooks.py` answers for one of them.

A further backend gets the whole suite by one such file, with a class `Hooks`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar

import pytest

from backends.contract import Network, Runtime
from backends.weights import initial_values
from harness import registry

SIDE = 64
FRAMEWORKS = tuple(
    name
    for name in registry.backend_names()
    if (Path(__file__).parent / f"{name}_hooks.py").is_file()
)


class FrameworkHooks(ABC):
    """One framework: its backend is started once in a test run, and its networks are built once.

    A test that takes a network from `network` sets the weights that it needs.
    """

    name: ClassVar[str]
    uncounted_name: ClassVar[str]  # a pattern of what `uncounted` computes, as the refusal names it
    # Weights whose true gradient is zero; Adam magnifies what rounding leaves of it.
    rounding: ClassVar[frozenset[str]] = frozenset()
    # Whether each network takes seconds to compile, for each batch size and once more to train.
    compiles_slowly: ClassVar[bool] = False
    width: ClassVar[int] = 2 * SIDE  # of the networks that tests share
    runtime: ClassVar[Runtime] = Runtime(threads=1)

    def __init__(self) -> None:
        self.backend = registry.load_backend(self.name)(self.runtime)
        self._built: dict[str, Network] = {}

    @abstractmethod
    def tiny(self, *, classes: int, height: int, width: int) -> Any:
        """`conv` 3×3 to 4 channels, `norm` of momentum 0.5, ReLU, dropout ½, `mix`, `head` 1×1.

        `mix` is a depthwise convolution, 3×3.
        """

    @abstractmethod
    def two_norms(self, *, classes: int, height: int, width: int) -> Any:
        """The network of `references.two_norms`: each normalisation is followed by dropout."""

    @abstractmethod
    def uncounted(self, *, classes: int, height: int, width: int) -> Any:
        """A network that computes something that has no count."""

    def build(self, name: str, height: int = SIDE, width: int = SIDE, classes: int = 2) -> Network:
        """A new network: one of the registry, or one of those above by the method's name."""
        size = {"classes": classes, "height": height, "width": width}
        if name in registry.networks():
            return registry.build(self.backend, name, **size)
        return self.backend.build(getattr(self, name), **size)

    def network(self, name: str) -> Network:
        """The network that all tests share: 64 × `width` from the registry, "tiny" 64 × 64."""
        if name not in self._built:
            width = self.width if name in registry.networks() else SIDE
            self._built[name] = self.build(name, SIDE, width)
        return self._built[name]

    def started(self, name: str = "tiny", classes: int = 2) -> Network:
        """A new network with its starting weights."""
        network = self.build(name, classes=classes)
        network.set_weights(initial_values(network.weight_specs(), 5))
        return network


@cache
def load(name: str) -> FrameworkHooks:
    """The hooks of one framework, started at the first call; skips the test without it."""
    missing = registry.missing_modules(name)
    if missing:
        pytest.skip(f"{', '.join(missing)} is not installed")
    return import_module(f"tests.contract.{name}_hooks").Hooks()


def cells(*, slow: tuple[str, ...] = ()) -> list[Any]:
    """(framework, network) for each network of the registry that the framework implements."""
    return [
        pytest.param(framework, name, marks=[pytest.mark.slow] if framework in slow else [])
        for framework in FRAMEWORKS
        for name, entry in registry.networks().items()
        if entry.implements(framework)
    ]
