"""CUDA graphs end to end: what a scanner's computer would run, in one launch.

The graph holds the copy from pinned memory to the GPU, the cast to the plan's precision, the
network, the arg-max and the copy of the masks back. A query copies the image into the pinned
buffer, launches the graph, waits once, and copies the masks out.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn
from typing_extensions import override

from backends.contract import Array, Inference
from backends.errors import require_shape
from backends.torch_module import TorchModule, writable

WARM_UPS = 3


class Recorder(ABC):
    """What records work once and repeats it."""

    @abstractmethod
    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """Memory of the host that the device reads and writes by itself."""

    @abstractmethod
    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        """Do the work a few times, record it, and return what repeats it with one launch."""

    @abstractmethod
    def wait(self) -> None:
        """Return when all that was launched is done."""


class CudaRecorder(Recorder):
    """CUDA's own."""

    @override
    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        return torch.empty(shape, dtype=dtype, pin_memory=True)

    @override
    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        # Algorithms are chosen and memory is allocated before the recording, on a stream aside.
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UPS):
                work()
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        return graph.replay

    @override
    def wait(self) -> None:
        torch.cuda.current_stream().synchronize()


class GraphInference(Inference):
    """One network, one precision, one batch, in one graph.

    `network` computes float32 logits (n, classes, h, w) of a float32 image tensor (n, 1, h, w) in
    the precision of the plan, its cast included.
    """

    def __init__(
        self,
        module: TorchModule,
        network: Callable[[Tensor], Tensor] | nn.Module,
        masks_of: Callable[[Tensor], Tensor],
        images: Array,
        quantity: Literal["forward", "end_to_end"],
        recorder: Recorder,
    ) -> None:
        self._module, self._recorder, self._quantity = module, recorder, quantity
        self._images = images
        self._pinned = recorder.pinned(images.shape, torch.float32)
        self._masks = recorder.pinned(images.shape[:3], torch.uint8)
        self._pinned.copy_(torch.from_numpy(writable(images)))
        self._input = self._pinned.to(module.device, copy=True)
        self._logits: Tensor | None = None
        # In channels-last memory a view does for the transposition.
        view = self._input.permute(0, 3, 1, 2)

        def forward() -> None:
            self._logits = network(view)

        def end_to_end() -> None:
            self._input.copy_(self._pinned, non_blocking=True)
            self._masks.copy_(masks_of(network(view)), non_blocking=True)

        module.enter("eval")
        with torch.inference_mode():
            self._replay = recorder.record(forward if quantity == "forward" else end_to_end)
        recorder.wait()

    @override
    def set_images(self, images: Array) -> None:
        require_shape(images, tuple(self._pinned.shape))
        self._images = images
        if self._quantity == "forward":
            with torch.inference_mode():
                self._input.copy_(torch.from_numpy(writable(images)))
            self._recorder.wait()

    @override
    @torch.inference_mode()
    def launch(self) -> Any:
        if self._quantity == "forward":
            self._replay()
            return self._logits
        # Images arrive in ordinary memory, as for every other plan: this copy is in the query.
        np.copyto(self._pinned.numpy(), self._images)
        self._replay()
        self._recorder.wait()
        # A copy: the next query writes into the same memory.
        return self._masks.numpy().copy()

    @override
    def synchronise(self, result: Any) -> None:
        if not isinstance(result, np.ndarray):  # the masks of an end-to-end query are here already
            self._recorder.wait()

    @override
    def logits(self, result: Any) -> Array:
        return np.ascontiguousarray(result.permute(0, 2, 3, 1).float().cpu().numpy())

    @override
    def compilations(self) -> int:
        return 0
