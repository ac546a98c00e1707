"""Training in PyTorch: losses, gradients, and the step that never waits."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from typing_extensions import override

from backends.contract import Array, Trainer, TrainingOptions, Weights
from backends.errors import require_images, require_masks
from backends.torch_module import TorchModule
from backends.weights import check_optimizer_state


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


class TorchTrainer(Trainer):
    """Adam on arrays that lie on the device, or on the host if they do not fit there."""

    def __init__(self, module: TorchModule, options: TrainingOptions) -> None:
        self._module = module
        self._options = options
        self._mode = "train" if options.dropout else "train_without_dropout"
        self._weights = [weight for weight in module.canonical if weight.spec.trainable]
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

    @override
    def set_data(self, images: Array, masks: Array) -> None:
        require_images(images, self._module.height, self._module.width)
        require_masks(masks, images)
        home = self._home(images.nbytes + masks.nbytes)
        self._images = torch.tensor(images, device=home, dtype=self._module.dtype)
        self._masks = torch.tensor(masks, device=home)

    def _home(self, size_bytes: int) -> torch.device:
        device = self._module.device
        if device.type == "cuda" and size_bytes > torch.cuda.mem_get_info(device)[0] // 2:
            return torch.device("cpu")
        return device

    @override
    def start_epoch(self, epoch: int) -> None:
        mixed = np.random.SeedSequence((self._options.seed, epoch)).generate_state(1, np.uint64)
        torch.manual_seed(int(mixed[0]))

    @override
    def step(self, indices: Array, learning_rate: float) -> None:
        module = self._module
        module.enter(self._mode)
        rows = torch.from_numpy(indices).to(self._images.device)
        images = self._images.index_select(0, rows).to(module.device, non_blocking=True)
        masks = self._masks.index_select(0, rows).to(module.device, non_blocking=True)
        self._optimizer.param_groups[0]["lr"] = learning_rate
        logits = module.net(images.permute(0, 3, 1, 2))
        loss = loss_of(logits, masks, self._options.loss)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self._optimizer.step()
        self._losses.append(loss.detach())

    @override
    def losses(self) -> Array:
        if not self._losses:
            return np.zeros(0, np.float32)
        values = torch.stack(self._losses).cpu().numpy()
        self._losses.clear()
        return values

    def first_step(self, learning_rate: float) -> dict[str, Array]:
        """One step on all data: see `Network.exact_step`."""
        self.step(np.arange(len(self._images), dtype=np.int64), learning_rate)
        found = {"loss/loss": self.losses()}
        for weight in self._module.canonical:
            for kind, value in (("gradient", weight.tensor.grad), ("weight", weight.tensor)):
                if value is not None:
                    array = value.detach().permute(weight.axes).cpu().numpy()
                    found[f"{kind}/{weight.spec.name}"] = np.array(array, order="C")
        return found

    @override
    def state(self) -> dict[str, Array]:
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

    @override
    def set_state(self, state: Weights) -> None:
        check_optimizer_state(state, [weight.spec for weight in self._weights])
        for weight in self._weights:
            own = {
                "step": torch.tensor(float(state["step"]), device=weight.tensor.device),
                "exp_avg": torch.zeros_like(weight.tensor),
                "exp_avg_sq": torch.zeros_like(weight.tensor),
            }
            weight.copy_into(own["exp_avg"], state[f"m/{weight.spec.name}"])
            weight.copy_into(own["exp_avg_sq"], state[f"v/{weight.spec.name}"])
            self._optimizer.state[weight.tensor] = own


def gradients(module: TorchModule, images: Array, masks: Array, loss: str) -> dict[str, Array]:
    """Canonical gradients of the loss, without dropout; running values stay as they were."""
    require_images(images, module.height, module.width)
    require_masks(masks, images)
    module.enter("train_without_dropout")
    before = [buffer.clone() for buffer in module.net.buffers()]
    weights = [weight for weight in module.canonical if weight.spec.trainable]
    try:
        logits = module.net(module.to_device(images))
        truth = torch.tensor(masks, device=module.device)
        found = torch.autograd.grad(loss_of(logits, truth, loss), [w.tensor for w in weights])
    finally:
        for buffer, value in zip(module.net.buffers(), before, strict=True):
            buffer.copy_(value)
    return {w.spec.name: w.to_canonical(g) for w, g in zip(weights, found, strict=True)}
