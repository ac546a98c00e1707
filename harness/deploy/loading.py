"""A network built and given its weights, for commands that work in their own process."""

from __future__ import annotations

from pathlib import Path

from backends.contract import Backend, Network, Runtime
from backends.weights import read_weights, starting_values
from harness import registry
from harness.protocol import Input


def build_network(
    name: str, backend_name: str, chosen: Input, runtime: Runtime, weights: Path | None
) -> tuple[Backend, Network]:
    """Build a network for one input size with the weights of a file, else its starting weights.

    Imports the framework. Raises `UsageError`, `SizeError`, `WeightsError`, `MissingFramework`.
    """
    backend = registry.load_backend(registry.backend(backend_name))(runtime)
    network = registry.build(
        backend, name, height=chosen.height, width=chosen.width, classes=chosen.classes
    )
    specs = network.weight_specs()
    if weights is not None:
        network.set_weights(read_weights(weights, specs))
    elif specs:
        network.set_weights(starting_values(network, 0, registry.network(name).card.he_normal))
    return backend, network
