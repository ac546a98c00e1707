"""Canonical weights: one naming and one layout, so that one file loads into every framework.

**Names** are the dotted path of the layer in the network plus the weight's own name, for example
`encoder.0.conv1.kernel`. Own names: `kernel`, `bias` (convolutions), `gamma`, `beta`, `mean`,
`variance` (batch normalisation; the last two are not trainable), `alpha` (PReLU).

**Layouts**: convolution (kh, kw, in / groups, out), depthwise therefore (kh, kw, 1, channels);
transposed convolution (kh, kw, in, out), where output[y·s + i] += input[y] · kernel[i] (the
gradient of a convolution, not mirrored); everything else (channels,).

**Native weights.** A network with a layer of any other kind (group or layer normalisation,
attention, a raw parameter) has no canonical form: all its weights keep the names, layouts and
dtypes that its framework gives them, and only that framework loads them. It starts as its own
constructor draws from the seed.

Files are safetensors: data only, checked before anything is loaded (`reliability`, point 6).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from math import prod, sqrt
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load, save

from backends.contract import Array, Network, Weights, WeightSpec
from backends.errors import WeightsError


def initial_value(spec: WeightSpec, seed: int, he_normal: Sequence[str] = ()) -> Array:
    """Draw the starting value of one weight from its canonical name and the seed.

    Kernels: Glorot uniform, or truncated He normal (±2 standard deviations, variance corrected as
    Keras does) if a pattern of `he_normal` matches; fans as Keras computes them. Scales
    (`gamma`) and variances start at 1, all else at 0.
    """
    own = spec.name.rpartition(".")[2]
    if own in ("gamma", "variance"):
        return np.ones(spec.shape, np.float32)
    if own != "kernel":
        return np.zeros(spec.shape, np.float32)
    digest = hashlib.sha256(f"{seed}/{spec.name}".encode()).digest()
    random = np.random.default_rng(int.from_bytes(digest[:16], "little"))
    receptive = prod(spec.shape[:-2])
    fan_in, fan_out = spec.shape[-2] * receptive, spec.shape[-1] * receptive
    if any(fnmatchcase(spec.name, pattern) for pattern in he_normal):
        # 0.8796... is the standard deviation of a unit normal cut at ±2.
        scale = sqrt(2.0 / fan_in) / 0.87962566103423978
        return (scale * _truncated_normal(random, spec.shape)).astype(np.float32)
    limit = sqrt(6.0 / (fan_in + fan_out))
    return random.uniform(-limit, limit, spec.shape).astype(np.float32)


def initial_values(
    specs: Iterable[WeightSpec], seed: int, he_normal: Sequence[str] = ()
) -> dict[str, Array]:
    """Starting values of all weights; the same in every framework for the same seed."""
    return {spec.name: initial_value(spec, seed, he_normal) for spec in specs}


def starting_values(network: Network, seed: int, he_normal: Sequence[str] = ()) -> dict[str, Array]:
    """What a training of `network` starts from: drawn here, or by its own constructor if native."""
    specs = network.weight_specs()
    if any(spec.native for spec in specs):
        return network.own_start(seed)
    return initial_values(specs, seed, he_normal)


def _truncated_normal(random: np.random.Generator, shape: tuple[int, ...]) -> Array:
    values = random.standard_normal(shape)
    while (outside := np.abs(values) > 2).any():
        values[outside] = random.standard_normal(int(outside.sum()))
    return values


def check_weights(weights: Weights, specs: Sequence[WeightSpec], source: str = "weights") -> None:
    """Raise `WeightsError` at the first difference in names, shapes, dtypes or finite values."""
    expected = {spec.name: spec for spec in specs}
    for name in expected:
        if name not in weights:
            raise WeightsError(f"{source}: weight {name!r} is missing; is it another network's?")
    for name, value in weights.items():
        if name not in expected:
            raise WeightsError(f"{source}: weight {name!r} is not one of this network's.")
        if tuple(value.shape) != expected[name].shape:
            raise WeightsError(
                f"{source}: weight {name!r} has shape {tuple(value.shape)}, "
                f"expected {expected[name].shape}."
            )
        if value.dtype != expected[name].dtype:
            raise WeightsError(
                f"{source}: weight {name!r} is {value.dtype}, expected {expected[name].dtype}."
            )
        if not np.isfinite(value).all():
            raise WeightsError(f"{source}: weight {name!r} holds NaN or infinity; train again.")


def check_optimizer_state(state: Weights, specs: Sequence[WeightSpec]) -> None:
    """Raise `WeightsError` unless `state` is that of a `Trainer` of these trainable weights."""
    if "step" not in state or state["step"].shape != ():
        raise WeightsError("optimizer state: the scalar 'step' is missing; train again.")
    moments = {name: value for name, value in state.items() if name != "step"}
    expected = [replace(spec, name=f"{which}/{spec.name}") for which in "mv" for spec in specs]
    check_weights(moments, expected, "optimizer state")


def require_suffix(path: Path, framework: str, *suffixes: str) -> None:
    """Raise `WeightsError` unless the file's name ends as the framework's own form does."""
    if not path.name.endswith(suffixes):
        raise WeightsError(
            f"{path.name}: {framework}'s own form of weights ends in {' or '.join(suffixes)}."
        )


def to_bytes(weights: Weights) -> bytes:
    """Weights as the bytes of a safetensors file; the same weights give the same bytes."""
    # Not `ascontiguousarray`, which makes one value of a scalar an array of one.
    return save({name: np.asarray(weights[name], order="C") for name in sorted(weights)})


def digest(weights: Weights) -> str:
    """sha256 over names, shapes and values: tells two sets of weights apart."""
    total = hashlib.sha256()
    for name in sorted(weights):
        value = np.asarray(weights[name], order="C")
        total.update(json.dumps([name, str(value.dtype), value.shape]).encode())
        total.update(value.tobytes())
    return total.hexdigest()


def read_weights(path: Path, specs: Sequence[WeightSpec], sha256: str | None = None) -> Weights:
    """Read and check a weights file against a network's specs, and its digest if given."""
    values = read_arrays(path)
    check_weights(values, specs, str(path))
    if sha256 is not None and digest(values) != sha256:
        raise WeightsError(f"{path}: the content is not what the record names; train again.")
    return values


def require_weights_file(path: Path) -> None:
    """Raise `WeightsError` unless `path` is a readable safetensors file; reads its header only.

    So the command line refuses it before any process is started. Whether the weights are those of
    the network is known only once the network is built.
    """
    try:
        with safe_open(path, framework="numpy") as file:
            empty = not list(file.keys())
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; train first or name another.") from None
    except OSError as error:
        raise WeightsError(f"{path}: cannot be read ({error.strerror or error}).") from None
    except SafetensorError as error:
        raise WeightsError(f"{path}: not a safetensors file ({error}).") from None
    if empty:
        raise WeightsError(f"{path}: holds no weights; train first or name another.")


def read_arrays(path: Path) -> dict[str, Array]:
    """Read a safetensors file as NumPy arrays.

    Raises `WeightsError` if it is not one, or holds a dtype that NumPy lacks (bfloat16).
    """
    try:
        return load(path.read_bytes())
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; train first or name another.") from None
    except KeyError as error:  # a dtype that NumPy lacks, by its name in the file's header
        raise WeightsError(f"{path}: holds values of dtype {error}, expected float32.") from None
    except (SafetensorError, ValueError) as error:
        raise WeightsError(f"{path}: not a safetensors file ({error}).") from None
