"""A PyTorch module on its device: what trainer, inference and network share."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from backends.contract import Array
from backends.errors import BackendError, OutputError
from backends.torch_weights import canonical_weights

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class TorchModule:
    """One module on one device, in channels-last memory, and the mode that it is in."""

    def __init__(
        self, build: Callable[[], nn.Module], device: torch.device, height: int, width: int
    ) -> None:
        self.device, self.height, self.width = device, height, width
        net = build()
        if not isinstance(net, nn.Module):
            raise BackendError(f"build returns a {type(net).__name__}, expected an nn.Module.")
        self.net = net.to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.canonical = canonical_weights(self.net)
        floats = (each.dtype for each in self.net.parameters() if each.is_floating_point())
        self.dtype = next(floats, torch.float32)
        self._mode = ""
        self.enter("eval")

    def enter(self, mode: str) -> None:
        """Switch to `eval`, `train` or `train_without_dropout`, unless it is on already.

        Remembered, because walking all layers takes a millisecond in a deep network.
        """
        if mode == self._mode:
            return
        self.net.train(mode != "eval")
        if mode == "train_without_dropout":
            for layer in self.net.modules():
                if isinstance(layer, _DROPOUTS):
                    layer.eval()
        self._mode = mode

    def to_device(self, images: Array) -> Tensor:
        """(n, h, w, 1) images as a (n, 1, h, w) tensor in channels-last memory, on the device."""
        return torch.from_numpy(writable(images)).to(self.device).permute(0, 3, 1, 2)


def set_float32_precision(precision: Literal["ieee", "tf32"]) -> None:
    """How a GPU multiplies float32 from now on: strictly (`ieee`) or rounded to TF32."""
    torch.backends.cudnn.conv.fp32_precision = precision  # pyright: ignore[reportAttributeAccessIssue]
    torch.backends.cuda.matmul.fp32_precision = precision


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """A block in which everything random follows from the seed; the generators are put back."""
    states = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            random.seed(seed)
            np.random.seed(seed)
            yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])


def require_logits(output: object, dtype: torch.dtype = torch.float32) -> Tensor:
    """`output` if it is a tensor (n, classes, h, w) of that dtype. Raises `OutputError`."""
    if not isinstance(output, Tensor):
        keys = f" of {', '.join(map(str, output))}" if isinstance(output, dict) else ""
        raise OutputError(
            f"the network returns a {type(output).__name__}{keys}, expected one tensor of logits: "
            "return that part in `forward` of a module around it."
        )
    if output.ndim != 4:
        raise OutputError(
            f"the network returns shape {tuple(output.shape)}, expected (n, classes, h, w)."
        )
    if output.dtype != dtype:
        is_, want = (str(one).removeprefix("torch.") for one in (output.dtype, dtype))
        raise OutputError(
            f"the network returns {is_} from {want} images: leave the precision to the plans."
        )
    return output


def writable(images: Array) -> Array:
    """`images`, or a copy of read-only ones, whose memory PyTorch cannot share."""
    return images if images.flags.writeable else images.copy()
