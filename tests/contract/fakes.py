"""Backends with planted faults: what they do is known, so the timer can be proven on them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from backends.contract import (
    Array,
    Backend,
    Bytes,
    Capabilities,
    Inference,
    Network,
    Operation,
    Runtime,
    Trainer,
    TrainingOptions,
    WeightSpec,
)
from backends.plans import Plan

# Long beside the 0.1 ms by which a virtual machine stamps late.
FAST_S, SLOW_S = 0.015, 0.150
SLOW_EVERY = 20  # 5 % of the calls
PLAN = Plan(key="fake", title="fake")


def logits_of(images: Array) -> Array:
    """(n, h, w, 2) logits: the brain is where the image is positive."""
    return np.concatenate([-images, images], axis=-1)


def wait_until(deadline: float) -> None:
    """Wait to a few microseconds: sleep first, then watch the clock."""
    time.sleep(max(0.0, deadline - time.perf_counter() - 0.001))
    while time.perf_counter() < deadline:
        pass


class FakeInference(Inference):
    """Answers at once and right; subclasses plant what is wrong or slow."""

    def __init__(self, images: Array, quantity: str) -> None:
        self.images = images
        self.quantity = quantity
        self.calls = 0

    def set_images(self, images: Array) -> None:
        self.images = images

    def work(self) -> None:
        """What a query costs."""

    def answer(self) -> Array:
        logits = logits_of(self.images)
        if self.quantity == "forward":
            return logits
        return logits.argmax(-1).astype(np.uint8)

    def launch(self) -> Any:
        self.calls += 1
        self.work()
        return self.answer()

    def synchronise(self, result: Any) -> None:
        pass

    def logits(self, result: Any) -> Array:
        return result

    def compilations(self) -> int:
        return 0


class Sleeping(FakeInference):
    """15 ms a query, every twentieth 150 ms; `slept_ns` is how long they really were."""

    def __init__(self, images: Array, quantity: str) -> None:
        super().__init__(images, quantity)
        self.slept_ns: list[int] = []
        self.slow: list[bool] = []

    def work(self) -> None:
        slow = self.calls % SLOW_EVERY == 0
        start = time.perf_counter_ns()
        wait_until(time.perf_counter() + (SLOW_S if slow else FAST_S))
        self.slow.append(slow)
        self.slept_ns.append(time.perf_counter_ns() - start)


class Asynchronous(FakeInference):
    """Returns at once and finishes 5 ms later; `synchronise` may be broken on purpose.

    `worked_ns` is how long each query took until its caller could know that it had finished: a
    sleeping thread, and then the one that waits for it, wake late on a busy machine.
    """

    broken: ClassVar[bool] = False

    def __init__(self, images: Array, quantity: str) -> None:
        super().__init__(images, quantity)
        self.start = 0
        self.worked_ns: list[int] = []

    def launch(self) -> Any:
        finished = threading.Event()
        self.calls += 1
        self.start = time.perf_counter_ns()

        def work() -> None:
            time.sleep(FAST_S)
            finished.set()

        threading.Thread(target=work, daemon=True).start()
        return finished, self.answer()

    def synchronise(self, result: Any) -> None:
        if self.broken:
            return
        result[0].wait()
        if len(self.worked_ns) < self.calls:  # asked again, it has finished long ago
            self.worked_ns.append(time.perf_counter_ns() - self.start)

    def logits(self, result: Any) -> Array:
        result[0].wait()
        return result[1]


class Unsynchronised(Asynchronous):
    """The asynchronous one with its synchronisation switched off."""

    broken = True


class Retracing(FakeInference):
    """Compiles again for the seventeenth new images, which is long after the warm-up's one."""

    def __init__(self, images: Array, quantity: str) -> None:
        super().__init__(images, quantity)
        self.seen: set[bytes] = set()

    def set_images(self, images: Array) -> None:
        super().set_images(images)
        self.seen.add(images.tobytes())

    def compilations(self) -> int:
        return int(len(self.seen) >= 17)


class Remembering(FakeInference):
    """5 ms for images that it has not seen, nothing for others."""

    def __init__(self, images: Array, quantity: str) -> None:
        super().__init__(images, quantity)
        self.answers: dict[bytes, Array] = {}

    def launch(self) -> Any:
        key = self.images.tobytes()
        if key not in self.answers:
            wait_until(time.perf_counter() + FAST_S)
            self.answers[key] = self.answer()
        return self.answers[key]


class OutOfMemory(FakeInference):
    """Runs out of memory from batch size 16 on, as frameworks say it."""

    def work(self) -> None:
        if len(self.images) >= 16:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")


class Wrong(FakeInference):
    """Gives the mask of another image."""

    def answer(self) -> Array:
        self.images = self.images[:, ::-1]
        return super().answer()


class Lazy(FakeInference):
    """Ends an end-to-end query with something that is not a mask on the host."""

    def answer(self) -> Any:
        return super().answer().tolist()


class Idle(FakeInference):
    """Does nothing at all, so that only the harness takes time."""

    def launch(self) -> Any:
        return None


class Breaking(FakeInference):
    """A plan whose runtime fails in its own way."""

    def work(self) -> None:
        raise ValueError("kernel not found\nand much more")


class FakeNetwork(Network):
    """A network whose queries behave as `kind` says, whatever its weights."""

    classes = 2

    def __init__(self, kind: Callable[..., FakeInference], height: int, width: int) -> None:
        self.kind = kind
        self.height, self.width = height, width

    def weight_specs(self) -> tuple[WeightSpec, ...]:
        return (WeightSpec(name="head.kernel", shape=(1, 1, 1, 2), trainable=True),)

    def weights(self) -> dict[str, Array]:
        return {"head.kernel": np.array([[[[-1.0, 1.0]]]], np.float32)}

    def set_weights(self, weights: Any) -> None:
        raise NotImplementedError

    def predict(self, images: Array) -> Array:
        return logits_of(images)

    def exact(self) -> Callable[[Array], Array]:
        return lambda images: logits_of(images.astype(np.float64))

    def prepare(self, images: Array, *, plan: str, quantity: str) -> Inference:
        assert plan == PLAN.key
        return self.kind(images, quantity)

    def trainer(self, options: TrainingOptions) -> Trainer:
        raise NotImplementedError

    def operations(self) -> tuple[Operation, ...]:
        size = (self.height, self.width)
        return (Operation(name="head", kind="conv", input_size=(*size, 1), output_size=(*size, 2)),)

    def activations(self, images: Array) -> dict[str, Array]:
        raise NotImplementedError

    def gradients(self, images: Array, masks: Array, loss: str) -> dict[str, Array]:
        raise NotImplementedError


class FakeBackend(Backend):
    """A backend of fake networks. Its matrix products are float32, or TF32 if `coarse`."""

    name = "fake"
    title = "Fake"
    capabilities = Capabilities(trains=False, plans=(PLAN,))

    def __init__(self, runtime: Runtime, *, coarse: bool = False) -> None:
        self.runtime = runtime
        self.coarse = coarse

    def build(
        self, builder: Callable[..., Any], *, classes: int, height: int, width: int
    ) -> Network:
        assert classes == 2
        return FakeNetwork(builder, height, width)

    def versions(self) -> dict[str, str]:
        return {"fake": "1"}

    def memory(self) -> dict[str, Bytes]:
        unknown = Bytes(bytes=None, reason="a fake allocates nothing")
        return {"allocated_peak_bytes": unknown, "reserved_peak_bytes": unknown}

    def multiply(self, left: Array, right: Array, *, plan: str, repeats: int = 1) -> Array:
        assert plan == PLAN.key
        if self.coarse:
            left, right = _tf32(left), _tf32(right)
        for _ in range(repeats):
            left = left @ right
        return left

    def product_seconds(self, size: int, *, plan: str, products: int) -> float:
        left = np.random.default_rng(0).standard_normal((size, size), np.float32) / size**0.5
        begin = time.perf_counter()
        self.multiply(left, left, plan=plan, repeats=products)
        return time.perf_counter() - begin


class FakeGpu(FakeBackend):
    """A card with tensor cores: every kernel costs its launch, whatever it computes.

    Its time is computed and not slept: 800 TFLOP/s and 20 µs.
    """

    FLOPS, LAUNCH_S = 800e12, 20e-6

    def __init__(self, *, memory_bytes: float = 80e9) -> None:
        super().__init__(Runtime())
        self.memory_bytes = memory_bytes

    def product_seconds(self, size: int, *, plan: str, products: int) -> float:
        assert plan == PLAN.key
        if 3 * 4 * size**2 > self.memory_bytes:
            raise RuntimeError("CUDA out of memory. Tried to allocate 256.00 MiB.")
        return products * max(self.LAUNCH_S, 2 * size**3 / self.FLOPS)


def _tf32(values: Array) -> Array:
    """Ten bits of a fraction are kept."""
    return (values.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)
