"""A network built in PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import Tensor, nn

from backends import torch_native, torch_trace
from backends.contract import (
    Array,
    Network,
    Operation,
    TrainingOptions,
    Weights,
    WeightSpec,
)
from backends.errors import require_images
from backends.onnx_export import onnx_bytes
from backends.runtimes import run_file
from backends.torch_layers import BatchNorm
from backends.torch_plans import TorchInference, writable
from backends.torch_training import TorchTrainer, gradients
from backends.torch_weights import canonical_weights
from backends.weights import check_weights

# Evaluation runs in slices of this many images, so that its memory does not grow with the data.
EVALUATION_BATCH = 8

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)


class TorchNetwork(Network):
    """One module on one device, in channels-last memory."""

    def __init__(
        self,
        build: Callable[[], nn.Module],
        device: torch.device,
        *,
        classes: int,
        height: int,
        width: int,
    ) -> None:
        self.classes, self.height, self.width = classes, height, width
        self.device = device
        self._build = build
        self.module = build().to(device=device, memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
        self.canonical = canonical_weights(self.module)
        self._mode = ""
        self.enter("eval")

    def enter(self, mode: str) -> None:
        """Switch to `eval`, `train` or `train_without_dropout`, unless it is on already.

        Remembered, because walking all layers takes a millisecond in a deep network.
        """
        if mode == self._mode:
            return
        self.module.train(mode != "eval")
        if mode == "train_without_dropout":
            for layer in self.module.modules():
                if isinstance(layer, _DROPOUTS):
                    layer.eval()
        self._mode = mode

    def to_device(self, images: Array) -> Tensor:
        """(n, h, w, 1) images as a (n, 1, h, w) tensor in channels-last memory, on the device."""
        return torch.from_numpy(writable(images)).to(self.device).permute(0, 3, 1, 2)

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        """See `Network.weight_specs`."""
        return tuple(weight.spec for weight in self.canonical)

    def weights(self) -> dict[str, Array]:
        """See `Network.weights`."""
        return {w.spec.name: w.to_canonical(w.tensor) for w in self.canonical}

    def set_weights(self, weights: Weights) -> None:
        """See `Network.set_weights`."""
        check_weights(weights, self.weight_specs())
        for weight in self.canonical:
            weight.copy_into(weight.tensor, weights[weight.spec.name])

    def write_native(self, path: Path) -> None:
        """See `Network.write_native`: a state dict, `.safetensors` or `.pt`."""
        torch_native.write(self.module, path)

    def read_native(self, path: Path) -> None:
        """See `Network.read_native`."""
        torch_native.read(self.module, path)

    def predict(self, images: Array) -> Array:
        """See `Network.predict`."""
        require_images(images, self.height, self.width)
        self.enter("eval")
        return self._logits(self.module, images, torch.float32)

    def exact(self) -> Callable[[Array], Array]:
        """See `Network.exact`."""
        self.enter("eval")
        module = deepcopy(self.module).double()

        def logits(images: Array) -> Array:
            require_images(images, self.height, self.width)
            return self._logits(module, images, torch.float64)

        return logits

    def _logits(self, module: nn.Module, images: Array, dtype: torch.dtype) -> Array:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), EVALUATION_BATCH):
                batch = self.to_device(images[start : start + EVALUATION_BATCH])
                parts.append(module(batch.to(dtype)).permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(parts)

    def prepare(
        self, images: Array, *, plan: str, quantity: Literal["forward", "end_to_end"]
    ) -> TorchInference:
        """See `Network.prepare`. The weights are those of now: prepare again after training.

        Raises `Unsupported` where the plan does not run on this device.
        """
        require_images(images, self.height, self.width)
        return TorchInference(self, images, plan, quantity)

    def export(self, path: Path, metadata: Mapping[str, str]) -> None:
        """See `Network.export`: an ONNX file."""
        path.write_bytes(onnx_bytes(self.module, self.height, self.width, metadata))

    def run_exported(self, path: Path, images: Array) -> dict[str, Array]:
        """See `Network.run_exported`: ONNX Runtime and OpenVINO."""
        require_images(images, self.height, self.width)
        return run_file(path, images, torch.get_num_threads())

    def trainer(self, options: TrainingOptions) -> TorchTrainer:
        """See `Network.trainer`."""
        return TorchTrainer(self, options)

    @torch.no_grad()
    def recalibrate(self, images: Array, batch_size: int) -> None:
        """See `Network.recalibrate`; an incomplete last batch is left out."""
        require_images(images, self.height, self.width)
        norms = [layer for layer in self.module.modules() if isinstance(layer, BatchNorm)]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        self.enter("train_without_dropout")
        for number, start in enumerate(range(0, len(images) - batch_size + 1, batch_size)):
            for norm in norms:
                # In PyTorch's sense: the share of the new batch. 1, 1/2, 1/3 … give the plain mean.
                norm.momentum = 1 / (number + 1)
            self.module(self.to_device(images[start : start + batch_size]))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    def operations(self) -> tuple[Operation, ...]:
        """See `Network.operations`."""
        return torch_trace.operations(self._build, self.height, self.width)

    def activations(self, images: Array) -> dict[str, Array]:
        """See `Network.activations`."""
        require_images(images, self.height, self.width)
        self.enter("eval")
        return torch_trace.activations(self.module, self.to_device(images))

    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        """See `Network.gradients`."""
        return gradients(self, images, masks, loss)
