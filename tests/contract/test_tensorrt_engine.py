"""TensorRT on a made-up ONNX Runtime: it never falls back unseen, and keeps engines by content."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

from backends import tensorrt_engine
from backends.errors import Unsupported
from backends.plans import ENGINES, FRESH_ENGINES
from backends.tensorrt_engine import PROVIDER, Addresses, engine_options, open_tensorrt
from harness.jobs.environment import engine_cache

WHERE = Addresses(images=16, logits=32, shape=(4, 1, 64, 64), classes=2)


class Options:
    def __init__(self) -> None:
        self.batch: dict[str, int] = {}
        self.entries: dict[str, str] = {}

    def add_free_dimension_override_by_name(self, name: str, size: int) -> None:
        self.batch[name] = size

    def add_session_config_entry(self, name: str, value: str) -> None:
        self.entries[name] = value


class Named:
    name = "tensor"


class Session:
    """Runs what it was bound to; `kept` are the providers that it really has."""

    kept: ClassVar[list[str]] = [PROVIDER]
    error: ClassVar[str] = ""

    def __init__(self, _: bytes, sess_options: Options, providers: list[Any]) -> None:
        if self.error:
            raise RuntimeError(self.error)
        self.options, self.providers, self.bound, self.runs = sess_options, providers, [], 0
        made.append(self)

    def get_providers(self) -> list[str]:
        return self.kept

    def get_inputs(self) -> list[Named]:
        return [Named()]

    get_outputs = get_inputs

    def io_binding(self) -> Session:
        return self

    def bind_input(self, *words: Any) -> None:
        self.bound.append(words)

    bind_output = bind_input

    def run_with_iobinding(self, _: Any) -> None:
        self.runs += 1


made: list[Session] = []


@pytest.fixture
def runtime(monkeypatch: pytest.MonkeyPatch) -> type[Session]:
    class Own(Session):
        pass

    module: Any = ModuleType("onnxruntime")
    module.SessionOptions, module.InferenceSession = Options, Own
    module.get_available_providers = lambda: [PROVIDER, "CPUExecutionProvider"]
    monkeypatch.setitem(sys.modules, "onnxruntime", module)
    monkeypatch.setattr(tensorrt_engine, "versions", lambda: {"onnxruntime-gpu": "1"})
    monkeypatch.delenv(ENGINES, raising=False)
    made.clear()
    return Own


@pytest.mark.usefixtures("runtime")
def test_it_runs_from_address_to_address() -> None:
    run = open_tensorrt(b"net", WHERE, "card")
    run()
    (session,) = made
    assert session.runs == 1
    assert session.bound == [
        ("tensor", "cuda", 0, "float32", (4, 1, 64, 64), 16),
        ("tensor", "cuda", 0, "float32", (4, 2, 64, 64), 32),
    ]
    # No other provider is offered, and the CPU is refused.
    assert [name for name, _ in session.providers] == [PROVIDER]
    assert session.options.entries == {"session.disable_cpu_ep_fallback": "1"}
    assert session.options.batch == {"batch": 4}


def test_a_silent_fallback_is_refused(runtime: type[Session]) -> None:
    runtime.kept = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    with pytest.raises(Unsupported, match="fell back to CUDAExecutionProvider, CPUExec"):
        open_tensorrt(b"net", WHERE, "card")


def test_a_network_that_it_does_not_take_is_unsupported(runtime: type[Session]) -> None:
    runtime.error = "graph nodes are assigned to the CPU\nand much more"
    with pytest.raises(
        Unsupported, match=r"does not run all of this network.*assigned to the CPU$"
    ):
        open_tensorrt(b"net", WHERE, "card")
    runtime.error = "CUDA out of memory"
    with pytest.raises(RuntimeError, match="out of memory"):
        open_tensorrt(b"net", WHERE, "card")


@pytest.mark.usefixtures("runtime")
def test_without_the_provider_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    onnxruntime: Any = sys.modules["onnxruntime"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(Unsupported, match=r"fetalbench\[tensorrt\]"):
        open_tensorrt(b"net", WHERE, "card")


@pytest.mark.usefixtures("runtime")
def test_engines_are_kept_by_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert engine_options(b"net", 1, "card") == {}
    for name, value in engine_cache(tmp_path, fresh=False).items():
        monkeypatch.setenv(name, value)
    first, again, larger = (engine_options(b"net", size, "card") for size in (1, 1, 8))
    assert first == again
    assert first["trt_engine_cache_path"] != larger["trt_engine_cache_path"]
    # What was learned of the card's kernels is shared by all batch sizes.
    assert first["trt_timing_cache_path"] == larger["trt_timing_cache_path"]
    folders = {first["trt_timing_cache_path"]}
    folders.add(engine_options(b"another", 1, "card")["trt_timing_cache_path"])
    folders.add(engine_options(b"net", 1, "another card")["trt_timing_cache_path"])
    monkeypatch.setattr(tensorrt_engine, "versions", lambda: {"onnxruntime-gpu": "2"})
    folders.add(engine_options(b"net", 1, "card")["trt_timing_cache_path"])
    assert len(folders) == 4
    assert all(Path(folder).is_dir() and tmp_path in Path(folder).parents for folder in folders)


@pytest.mark.usefixtures("runtime")
def test_what_is_published_builds_its_engines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ENGINES, str(tmp_path))
    kept = Path(engine_options(b"net", 8, "card")["trt_engine_cache_path"]) / "engine"
    kept.touch()
    engine_options(b"net", 8, "card")
    assert kept.exists()
    assert engine_cache(tmp_path, fresh=True)[FRESH_ENGINES] == "1"
    monkeypatch.setenv(FRESH_ENGINES, "1")
    engine_options(b"net", 8, "card")
    assert not kept.exists()
