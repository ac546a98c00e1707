"""PyTorch's own form of weights: a state dict, as safetensors or as torch.save writes it."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from backends.errors import WeightsError
from backends.weights import require_suffix


def write(module: nn.Module, path: Path) -> None:
    """Write the state dict, with PyTorch's names and layouts. Raises `WeightsError`."""
    require_suffix(path, "PyTorch", ".safetensors", ".pt")
    state = {name: value.detach().cpu().contiguous() for name, value in module.state_dict().items()}
    if path.suffix == ".pt":
        torch.save(state, path)
    else:
        save_file(state, path)


def read(module: nn.Module, path: Path) -> None:
    """Load a state dict into `module`. Raises `WeightsError` for any other file."""
    require_suffix(path, "PyTorch", ".safetensors", ".pt")
    try:
        # weights_only: nothing but tensors is unpickled, so a file cannot run code.
        pickled = path.suffix == ".pt"
        state = torch.load(path, map_location="cpu", weights_only=True) if pickled else None
        state = state if state is not None else load_file(path)
        # Not strict: batch counters, which no layer of ours keeps, may be there or not.
        odd = module.load_state_dict(state, strict=False)
    except FileNotFoundError:
        raise WeightsError(f"{path}: no such file; name another.") from None
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, TypeError, EOFError) as error:
        reason = " ".join(str(error).split())[:200]
        raise WeightsError(f"{path}: not a state dict of this network ({reason}).") from None
    names = [*odd.missing_keys, *odd.unexpected_keys]
    names = [name for name in names if not name.endswith(".num_batches_tracked")]
    if names:
        raise WeightsError(f"{path}: {names[0]!r} is missing, or is not one of this network's.")
