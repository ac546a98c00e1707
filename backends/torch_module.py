"""A PyTorch module on its device: what trainer, inference and network share."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from backends.contract import Array
from backends.torch_weights import canonical_weights

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class TorchModule:
    """One module on one device, in channels-last memory, and the mode that it is in."""

    def __init__(
        self, build: Callable[[], nn.Module], device: torch.device, height: int, width: int
    ) -> None:
        self.device, self.height, self.width = device, height, width
        self.net = build().to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
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


def writable(images: Array) -> Array:
    """`images`, or a copy of read-only ones, whose memory PyTorch cannot share."""
    return images if images.flags.writeable else images.copy()
