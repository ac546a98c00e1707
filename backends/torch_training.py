"""Training in PyTorch: losses, gradients, and the step that never waits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from typing_extensions import override

from backends.contract import Array, Trainer, TrainingOptions, Weights
from backends.errors import require_images, require_masks
from backends.torch_module import TorchModule, require_logits, set_float32_precision
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
    def place(self, batches: Array) -> list[Tensor]:
        return list(torch.from_numpy(batches).to(self._images.device))

    @override
    def step(self, indices: Any, learning_rate: float) -> None:
        module = self._module
        module.enter(self._mode)
        placed = isinstance(indices, Tensor)
        rows = indices if placed else torch.from_numpy(indices).to(self._images.device)
        images = self._images.index_select(0, rows).to(module.device, non_blocking=True)
        masks = self._masks.index_select(0, rows).to(module.device, non_blocking=True)
        self._optimizer.param_groups[0]["lr"] = learning_rate
        self._optimizer.zero_grad(set_to_none=True)
        with self._precision():
            loss = loss_of(self._logits(images), masks, self._options.loss)
            loss.backward()
        self._optimizer.step()
        self._losses.append(loss.detach())

    def _logits(self, images: Tensor) -> Tensor:
        """Logits in the dtype of the weights of (n, h, w, 1) images."""
        module, images = self._module, images.permute(0, 3, 1, 2)
        if self._options.precision != "bfloat16":
            return require_logits(module.net(images), module.dtype)
        with torch.autocast(module.device.type, torch.bfloat16):
            logits = module.net(images)
        # The last layer computes in either: autocast decides.
        whole = logits.to(module.dtype) if isinstance(logits, Tensor) else logits
        return require_logits(whole, module.dtype)

    @contextmanager
    def _precision(self) -> Iterator[None]:
        """Products in TF32, forward and back, if that is asked for; strict elsewhere."""
        if self._options.precision != "tf32":
            yield
            return
        set_float32_precision("tf32")
        try:
            yield
        finally:
            set_float32_precision("ieee")

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
        logits = require_logits(module.net(module.to_device(images)))
        truth = torch.tensor(masks, device=module.device)
        found = torch.autograd.grad(
            loss_of(logits, truth, loss), [w.tensor for w in weights], materialize_grads=True
        )
    finally:
        for buffer, value in zip(module.net.buffers(), before, strict=True):
            buffer.copy_(value)
    return {w.spec.name: w.to_canonical(g) for w, g in zip(weights, found, strict=True)}


def unseen_leaves(module: TorchModule) -> list[str]:
    """Tensors behind the logits that want a gradient and are not among the module's weights.

    Read from the graph of one forward pass, so that no layer hides: neither in a list, nor in a
    closure.
    """
    seen = {id(weight) for weight in module.net.parameters()}
    module.enter("eval")
    images = torch.zeros(1, 1, module.height, module.width, device=module.device)
    with torch.enable_grad():
        logits = require_logits(module.net(images))
    found: dict[int, str] = {}
    visited: set[Any] = set()
    waiting: list[Any] = [logits.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        leaf = getattr(node, "variable", None)
        if leaf is not None and id(leaf) not in seen:
            found[id(leaf)] = _name_of(leaf, module.net)
        waiting += [parent for parent, _ in node.next_functions]
    return sorted(found.values())


def _name_of(leaf: Tensor, net: nn.Module) -> str:
    """The attribute in which a tensor lies, with its place in a list or dict; else its shape."""
    for path, layer in net.named_modules():
        for name, value in vars(layer).items():
            if not name.startswith("_"):
                for inner, tensor in _inside(value):
                    if tensor is leaf:
                        return ".".join(filter(None, [path, name + inner]))
    return f"of shape {tuple(leaf.shape)}"


def _inside(value: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(value, Tensor):
        yield "", value
    elif isinstance(value, nn.Module):
        for name, tensor in value.named_parameters():
            yield f".{name}", tensor
    elif isinstance(value, dict):
        for key, one in value.items():
            for inner, tensor in _inside(one):
                yield f"[{key!r}]{inner}", tensor
    elif isinstance(value, (list, tuple)):
        for place, one in enumerate(value):
            for inner, tensor in _inside(one):
                yield f"[{place}]{inner}", tensor
