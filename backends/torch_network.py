"""A network built in PyTorch."""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase
from typing_extensions import override

from backends import torch_native, torch_trace
from backends.contract import (
    Array,
    Inference,
    Network,
    Operation,
    TrainingOptions,
    Weights,
    WeightSpec,
)
from backends.errors import require_images
from backends.onnx_export import onnx_bytes
from backends.runtimes import run_file
from backends.torch_graphs import CudaRecorder, GraphInference
from backends.torch_inference import TorchInference, masks_of
from backends.torch_module import TorchModule, require_logits, seeded
from backends.torch_plans import in_precision, require_plan
from backends.torch_training import TorchTrainer, gradients, unseen_leaves
from backends.torch_weights import canonical_weights
from backends.weights import check_weights

# Evaluation runs in slices of this many images, so that its memory does not grow with the data.
EVALUATION_BATCH = 8
GRAPHS = "cuda-graphs-"


class TorchNetwork(Network):
    """A `TorchModule` behind the contract, and how to build it again."""

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
        self._build = build
        self._calibration: Array | None = None
        self.module = TorchModule(build, device, height, width)

    @override
    def weight_specs(self) -> tuple[WeightSpec, ...]:
        return tuple(weight.spec for weight in self.module.canonical)

    @override
    def weights(self) -> dict[str, Array]:
        return {w.spec.name: w.to_canonical(w.tensor) for w in self.module.canonical}

    @override
    def set_weights(self, weights: Weights) -> None:
        check_weights(weights, self.weight_specs())
        for weight in self.module.canonical:
            weight.copy_into(weight.tensor, weights[weight.spec.name])

    @override
    def own_start(self, seed: int) -> dict[str, Array]:
        with seeded(seed):
            return {w.spec.name: w.to_canonical(w.tensor) for w in canonical_weights(self._build())}

    @override
    def unseen_weights(self) -> list[str]:
        return unseen_leaves(self.module)

    @override
    def write_native(self, path: Path) -> None:
        torch_native.write(self.module.net, path)

    @override
    def read_native(self, path: Path) -> None:
        torch_native.read(self.module.net, path)

    @override
    def predict(self, images: Array) -> Array:
        require_images(images, self.height, self.width)
        self.module.enter("eval")
        return self._logits(self.module.net, images, torch.float32)

    @override
    def exact(self) -> Callable[[Array], Array]:
        self.module.enter("eval")
        module = deepcopy(self.module.net).double()

        def logits(images: Array) -> Array:
            require_images(images, self.height, self.width)
            return self._logits(module, images, torch.float64)

        return logits

    @override
    def exact_step(
        self, images: Array, masks: Array, options: TrainingOptions, learning_rate: float
    ) -> dict[str, Array]:
        module = TorchModule(
            lambda: deepcopy(self.module.net).double(), self.module.device, self.height, self.width
        )
        trainer = TorchTrainer(module, options)
        trainer.set_data(images, masks)
        return trainer.first_step(learning_rate)

    def _logits(self, module: nn.Module, images: Array, dtype: torch.dtype) -> Array:
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), EVALUATION_BATCH):
                batch = self.module.to_device(images[start : start + EVALUATION_BATCH])
                logits = require_logits(module(batch.to(dtype)), dtype)
                parts.append(logits.permute(0, 2, 3, 1).cpu().numpy())
        return np.concatenate(parts)

    @override
    def prepare(
        self, images: Array, *, plan: str, quantity: Literal["forward", "end_to_end"]
    ) -> Inference:
        require_images(images, self.height, self.width)
        if plan.startswith(GRAPHS):
            precision = require_plan(plan, self.module.device).precision
            network = in_precision(self.module.net, precision)
            return GraphInference(self.module, network, masks_of, images, quantity, CudaRecorder())
        return TorchInference(self.module, images, plan, quantity, self._calibration)

    @override
    def calibrate(self, images: Array) -> None:
        require_images(images, self.height, self.width)
        self._calibration = images.copy()

    @override
    def release(self) -> None:
        if "torch._dynamo" in sys.modules:
            # The compiler keeps each graph that it has made, with the weights frozen into it.
            torch.compiler.reset()
        gc.collect()
        if self.module.device.type == "cuda":
            torch.cuda.empty_cache()

    @override
    def export(self, path: Path, metadata: Mapping[str, str]) -> None:
        path.write_bytes(onnx_bytes(self.module.net, self.height, self.width, metadata))

    @override
    def run_exported(self, path: Path, images: Array) -> dict[str, Array]:
        require_images(images, self.height, self.width)
        return run_file(path, images, torch.get_num_threads())

    @override
    def trainer(self, options: TrainingOptions) -> TorchTrainer:
        return TorchTrainer(self.module, options)

    @override
    @torch.no_grad()
    def recalibrate(self, images: Array, batch_size: int) -> None:
        require_images(images, self.height, self.width)
        norms = [
            layer
            for layer in self.module.net.modules()
            if isinstance(layer, _NormBase) and layer.running_mean is not None
        ]
        if not norms:
            return
        momenta = [norm.momentum for norm in norms]
        self.module.enter("train_without_dropout")
        for number, start in enumerate(range(0, len(images) - batch_size + 1, batch_size)):
            for norm in norms:
                # In PyTorch's sense: the share of the new batch. 1, 1/2, 1/3 … give the plain mean.
                norm.momentum = 1 / (number + 1)
            self.module.net(self.module.to_device(images[start : start + batch_size]))
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum

    @override
    def operations(self) -> tuple[Operation, ...]:
        return torch_trace.operations(self._build, self.height, self.width)

    @override
    def activations(self, images: Array) -> dict[str, Array]:
        require_images(images, self.height, self.width)
        self.module.enter("eval")
        return torch_trace.activations(self.module.net, self.module.to_device(images))

    @override
    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        return gradients(self.module, images, masks, loss)
