"""Training in PyTorch: losses, gradients, and the step that never waits."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from backends.contract import (
    Array,
    Trainer,
    TrainingOptions,
    Weights,
    WeightSpec,
)
from backends.errors import SizeError, WeightsError, require_images
from backends.weights import check_weights

if TYPE_CHECKING:
    from backends.torch_network import TorchNetwork


def loss_of(logits: Tensor, masks: Tensor, loss: str) -> Tensor:
    """Loss of logits (n, classes, h, w) against masks (n, h, w) of 0 and 1, as a scalar.

    `dice` or `dice_ce`, see `TrainingOptions`.
    """
    background = logits[:, 0] if logits.shape[1] == 2 else _all_but_brain(logits)
    # The softmax of the brain class is the sigmoid of its margin over the others, at half the
    # cost of `log_softmax` forward and back (CPU time, 8×256×256: 14 ms against 31).
    margin = logits[:, 1] - background
    brain = margin.sigmoid()
    truth = masks.to(logits.dtype)
    overlap = (brain * truth).sum()
    dice = 1.0 - (2.0 * overlap + 1.0) / (brain.sum() + truth.sum() + 1.0)
    if loss == "dice":
        return dice
    return dice + functional.binary_cross_entropy_with_logits(margin, truth)


def _all_but_brain(logits: Tensor) -> Tensor:
    return torch.cat([logits[:, :1], logits[:, 2:]], 1).logsumexp(1)


def check_masks(masks: Array, images: Array) -> None:
    """Raise `SizeError` unless `masks` is uint8 and as many and as large as `images`."""
    if masks.shape != images.shape[:3] or masks.dtype != np.uint8:
        raise SizeError(
            f"masks are {masks.dtype} of shape {masks.shape}, expected uint8 of shape "
            f"{images.shape[:3]}: give one mask an image."
        )


class TorchTrainer(Trainer):
    """Adam on arrays that lie on the device, or on the host where they do not fit."""

    def __init__(self, network: TorchNetwork, options: TrainingOptions) -> None:
        self._network = network
        self._options = options
        self._mode = "train" if options.dropout else "train_without_dropout"
        self._weights = [weight for weight in network.canonical if weight.spec.trainable]
        self._optimizer = torch.optim.Adam(
            [weight.tensor for weight in self._weights],
            betas=(0.9, 0.999),
            eps=options.adam_epsilon,
            fused=True,
        )
        self._losses: list[Tensor] = []
        self._images = torch.empty(0)
        self._masks = torch.empty(0)
        self.start_epoch(0)

    def set_data(self, images: Array, masks: Array) -> None:
        """See `Trainer.set_data`; raises `SizeError`."""
        require_images(images, self._network.height, self._network.width)
        check_masks(masks, images)
        home = self._home(images.nbytes + masks.nbytes)
        self._images = torch.tensor(images, device=home)
        self._masks = torch.tensor(masks, device=home)

    def _home(self, size_bytes: int) -> torch.device:
        device = self._network.device
        if device.type == "cuda" and size_bytes > torch.cuda.mem_get_info(device)[0] // 2:
            return torch.device("cpu")
        return device

    def start_epoch(self, epoch: int) -> None:
        """See `Trainer.start_epoch`."""
        mixed = np.random.SeedSequence((self._options.seed, epoch)).generate_state(1, np.uint64)
        torch.manual_seed(int(mixed[0]))

    def step(self, indices: Array, learning_rate: float) -> None:
        """See `Trainer.step`."""
        network = self._network
        network.enter(self._mode)
        rows = torch.from_numpy(indices).to(self._images.device)
        images = self._images.index_select(0, rows).to(network.device, non_blocking=True)
        masks = self._masks.index_select(0, rows).to(network.device, non_blocking=True)
        self._optimizer.param_groups[0]["lr"] = learning_rate
        logits = network.module(images.permute(0, 3, 1, 2))
        loss = loss_of(logits, masks, self._options.loss)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._losses.append(loss.detach())

    def losses(self) -> Array:
        """See `Trainer.losses`."""
        if not self._losses:
            return np.zeros(0, np.float32)
        values = torch.stack(self._losses).cpu().numpy()
        self._losses.clear()
        return values

    def state(self) -> dict[str, Array]:
        """See `Trainer.state`."""
        state = self._optimizer.state
        steps = [state[weight.tensor]["step"] for weight in self._weights if weight.tensor in state]
        found: dict[str, Array] = {"step": np.array(int(steps[0]) if steps else 0, np.int64)}
        for prefix, key in (("m", "exp_avg"), ("v", "exp_avg_sq")):
            for weight in self._weights:
                # A layer that is not connected has no gradient, and Adam no state of it.
                known = weight.tensor in state
                moment = state[weight.tensor][key] if known else torch.zeros_like(weight.tensor)
                found[f"{prefix}/{weight.spec.name}"] = weight.to_canonical(moment)
        return found

    def set_state(self, state: Weights) -> None:
        """See `Trainer.set_state`."""
        moments = {name: value for name, value in state.items() if name != "step"}
        specs = [
            WeightSpec(name=f"{prefix}/{w.spec.name}", shape=w.spec.shape, trainable=True)
            for prefix in ("m", "v")
            for w in self._weights
        ]
        if "step" not in state or state["step"].shape != ():
            raise WeightsError("optimizer state: 'step' is missing or no single number.")
        check_weights(moments, specs, "optimizer state")
        for weight in self._weights:
            own = {
                "step": torch.tensor(float(state["step"]), device=weight.tensor.device),
                "exp_avg": torch.zeros_like(weight.tensor),
                "exp_avg_sq": torch.zeros_like(weight.tensor),
            }
            weight.copy_into(own["exp_avg"], moments[f"m/{weight.spec.name}"])
            weight.copy_into(own["exp_avg_sq"], moments[f"v/{weight.spec.name}"])
            self._optimizer.state[weight.tensor] = own


def gradients(network: TorchNetwork, images: Array, masks: Array, loss: str) -> dict[str, Array]:
    """See `Network.gradients`; running statistics are left as they were."""
    require_images(images, network.height, network.width)
    check_masks(masks, images)
    network.enter("train_without_dropout")
    before = [buffer.clone() for buffer in network.module.buffers()]
    weights = [weight for weight in network.canonical if weight.spec.trainable]
    try:
        logits = network.module(network.to_device(images))
        truth = torch.tensor(masks, device=network.device)
        found = torch.autograd.grad(loss_of(logits, truth, loss), [w.tensor for w in weights])
    finally:
        for buffer, value in zip(network.module.buffers(), before, strict=True):
            buffer.copy_(value)
    return {w.spec.name: w.to_canonical(g) for w, g in zip(weights, found, strict=True)}
