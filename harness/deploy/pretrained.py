"""The weights that come with the package: half precision, checked against their card.

`weights/NAME.safetensors` beside this file, `NAME.toml` with its digest and what the network wants
to see, and `NAME.md`, the model card.
"""

from __future__ import annotations

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from backends.contract import Array
from backends.errors import WeightsError
from backends.weights import read_arrays
from harness.errors import UsageError
from harness.protocol import Input

FOLDER = Path(__file__).parent / "weights"
AGAIN = "install fetalbench again"


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """Weights by canonical name, float32, and the input that they were trained for."""

    weights: dict[str, Array]
    input: Input
    source: str
    sha256: str


def names(folder: Path = FOLDER) -> list[str]:
    """Networks of which the package holds weights."""
    return sorted(path.stem for path in folder.glob("*.safetensors"))


def load(network: str, folder: Path = FOLDER) -> Pretrained:
    """The package's weights of a network.

    Raises `UsageError` if it has none, `WeightsError` if the file is not what its card says.
    """
    path = folder / f"{network}.safetensors"
    if not path.is_file():
        raise UsageError(
            f"this package holds no weights of network {network!r}, only of "
            f"{', '.join(names(folder))}: name a file of your own with --weights."
        )
    card = tomllib.loads(path.with_suffix(".toml").read_text(encoding="utf-8"))
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != card["sha256"]:
        raise WeightsError(
            f"{path}: its sha256 is {found[:12]}…, its card says {card['sha256'][:12]}…; {AGAIN}."
        )
    arrays = {name: value.astype(np.float32) for name, value in read_arrays(path).items()}
    return Pretrained(
        weights=arrays,
        input=Input(**card["input"]),
        source=f"fetalbench's own weights of {network}",
        sha256=found,
    )
