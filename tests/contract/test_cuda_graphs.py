"""CUDA graphs end to end, on a recorder that calls directly: what they hold, and their numbers."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import pytest

if importlib.util.find_spec("torch") is None:
    pytest.skip("torch is not installed", allow_module_level=True)

import torch

from backends.contract import Array, Runtime
from backends.errors import Unsupported
from backends.plans import PLANS, Plan, require_tf32
from backends.torch_backend import TorchBackend
from backends.torch_graphs import WARM_UPS, CudaRecorder, GraphInference, Recorder
from backends.torch_inference import masks_of
from backends.torch_network import TorchNetwork
from backends.torch_plans import in_precision, require_plan
from backends.weights import initial_values
from harness import registry

SIDE = 64
GRAPHS = [plan for plan in PLANS["torch"] if plan.key.startswith("cuda-graphs-")]


class Direct(Recorder):
    """Calls the work instead of recording it, and counts."""

    def __init__(self) -> None:
        self.launches = self.waits = 0

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype)

    def record(self, work: Callable[[], Any]) -> Callable[[], None]:
        work()

        def replay() -> None:
            self.launches += 1
            work()

        return replay

    def wait(self) -> None:
        self.waits += 1


@pytest.fixture(scope="module")
def network() -> TorchNetwork:
    backend = TorchBackend(Runtime(threads=1))
    found = registry.build(backend, "rfbsnet", height=SIDE, width=SIDE, classes=2)
    assert isinstance(found, TorchNetwork)
    found.set_weights(initial_values(found.weight_specs(), seed=0))
    return found


@pytest.fixture
def images() -> Array:
    return np.random.default_rng(0).standard_normal((6, SIDE, SIDE, 1)).astype(np.float32)


def graphed(
    network: TorchNetwork,
    images: Array,
    precision: str,
    quantity: Literal["forward", "end_to_end"],
    recorder: Recorder,
) -> GraphInference:
    forward = in_precision(network.module.net, precision)
    return GraphInference(network.module, forward, masks_of, images, quantity, recorder)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_a_query_gives_the_masks_of_new_images(
    network: TorchNetwork, images: Array, precision: str
) -> None:
    recorder = Direct()
    query = graphed(network, images[:3], precision, "end_to_end", recorder)
    kept = []
    for batch in (images[:3], images[3:]):
        query.set_images(batch)
        recorder.launches = recorder.waits = 0
        masks = query.launch()
        query.synchronise(masks)
        assert (recorder.launches, recorder.waits) == (1, 1)
        assert (masks.dtype, masks.shape) == (np.uint8, (3, SIDE, SIDE))
        kept.append(masks)
    # Kept results stay what they were, though the buffer is written again.
    plan = "eager-bfloat16" if precision == "bfloat16" else "eager"
    eager = network.prepare(images[:3], plan=plan, quantity="end_to_end")
    for batch, masks in zip((images[:3], images[3:]), kept, strict=True):
        eager.set_images(batch)
        assert np.array_equal(masks, eager.launch())
        assert 0 < masks.mean() < 1
    assert query.compilations() == 0


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_forward_query_ends_with_logits(
    network: TorchNetwork, images: Array, precision: str
) -> None:
    query = graphed(network, images[:3], precision, "forward", Direct())
    query.set_images(images[3:])
    result = query.launch()
    query.synchronise(result)
    expected = network.predict(images[3:])
    difference = np.abs(query.logits(result) - expected).max() / np.abs(expected).max()
    assert difference < 1e-5 if precision == "float32" else 1e-6 < difference < 0.1


def test_all_of_an_end_to_end_query_is_recorded(network: TorchNetwork, images: Array) -> None:
    """Copies, cast, network and arg-max: replaying the record alone makes the masks."""

    class Once(Direct):
        work: Callable[[], Any]

        def record(self, work: Callable[[], Any]) -> Callable[[], None]:
            self.work = work
            return super().record(work)

    recorder = Once()
    query = graphed(network, images[:1], "float32", "end_to_end", recorder)
    query._pinned.copy_(torch.from_numpy(images[1:2]))
    query._masks.zero_()
    with torch.inference_mode():
        recorder.work()
    assert np.array_equal(query._masks.numpy(), network.predict(images[1:2]).argmax(-1))


def test_the_recorder_warms_up_aside_and_waits_for_its_own_stream(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []

    class Stream:
        def __init__(self, name: str = "side") -> None:
            self.name = name

        def wait_stream(self, other: Stream) -> None:
            said.append(f"{self.name} waits for {other.name}")

        def synchronize(self) -> None:
            said.append(f"wait for {self.name}")

    class Context:
        def __init__(self, name: str) -> None:
            self.name = name

        def __enter__(self) -> None:
            said.append(f"enter {self.name}")

        def __exit__(self, *_: object) -> None:
            said.append(f"leave {self.name}")

    class Graph:
        name = "graph"

        def replay(self) -> None:
            said.append("launch")

    main = Stream("main")
    monkeypatch.setattr(torch.cuda, "Stream", Stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: main)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: Context(stream.name))
    monkeypatch.setattr(torch.cuda, "CUDAGraph", Graph)
    monkeypatch.setattr(torch.cuda, "graph", lambda graph: Context(graph.name))
    recorder = CudaRecorder()
    recorder.record(lambda: said.append("work"))()
    recorder.wait()
    assert said == [
        "side waits for main",
        "enter side",
        *["work"] * WARM_UPS,
        "leave side",
        "main waits for side",
        "enter graph",
        "work",
        "leave graph",
        "launch",
        "wait for main",
    ]


def test_each_precision_has_its_plan_and_none_runs_on_a_cpu(
    network: TorchNetwork, images: Array
) -> None:
    assert [plan.precision for plan in GRAPHS] == ["float32", "tf32", "bfloat16", "float16"]
    for plan in GRAPHS:
        assert plan.key == f"cuda-graphs-{plan.precision}"
        with pytest.raises(Unsupported, match="needs cuda, not cpu"):
            network.prepare(images[:1], plan=plan.key, quantity="end_to_end")


def test_tf32_needs_ampere(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = Plan(key="eager-tf32", title="", precision="tf32")
    require_tf32(plan, (8, 0))
    require_tf32(plan, None)
    require_tf32(Plan(key="eager", title=""), (7, 5))
    with pytest.raises(Unsupported, match=r"Ampere \(compute capability 8.0\); this one has 7.5"):
        require_tf32(plan, (7, 5))
    card = torch.device("cuda")
    for capability, refused in (((7, 0), True), ((9, 0), False)):
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _, c=capability: c)
        if refused:
            with pytest.raises(Unsupported, match=r"this one has 7\.0"):
                require_plan("cuda-graphs-tf32", card)
        else:
            assert require_plan("cuda-graphs-tf32", card).precision == "tf32"
