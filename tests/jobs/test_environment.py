"""Determinism is training's: a process that only measures does without, whatever the shell says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from backends.contract import Runtime
from harness import registry
from harness.data.catalogue import Dataset
from harness.jobs.environment import worker_environment
from harness.jobs.job import Job, Stage
from harness.records import provenance
from harness.run import grid, runner
from harness.worker import cells
from tests.run.test_grid import template_of


def test_only_training_asks_for_determinism(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CUBLAS_WORKSPACE_CONFIG", "TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC"):
        monkeypatch.setenv(name, "1")
    flags = "--xla_gpu_deterministic_ops=true --xla_gpu_autotune_level=4"
    monkeypatch.setenv("XLA_FLAGS", flags)
    timing = worker_environment("torch", "cuda", 2)
    assert not [name for name in timing if "DETERMINIS" in name or name.startswith("CUBLAS")]
    assert timing["XLA_FLAGS"] == "--xla_gpu_autotune_level=4"
    training = worker_environment("torch", "cuda", 2, deterministic=True)
    assert training["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"


@pytest.mark.parametrize(
    ("stages", "deterministic"),
    [
        (("train", "evaluate", "measure"), True),
        (("evaluate",), True),
        (("measure",), False),
        (("stream",), False),
    ],
)
def test_the_worker_starts_its_framework_as_the_job_says(
    stages: tuple[Stage, ...],
    deterministic: bool,
    disc_data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    template = template_of(disc_data, tmp_path, grid={"networks": ["unet"], "backends": ["torch"]})
    (cell,) = grid.cells_of(template, disc_data.meta, seeds=[0])
    started: list[Runtime] = []

    class Started(Exception):
        pass

    def start(runtime: Runtime) -> None:
        started.append(runtime)
        raise Started

    monkeypatch.setattr(registry, "load_backend", lambda _: start)
    with pytest.raises(Started):
        cells.run_job(template.with_cells([cell.key], stages=stages), lambda _: None)
    assert [runtime.deterministic for runtime in started] == [deterministic]


@pytest.mark.parametrize(("device", "together"), [("cpu", True), ("cuda", False)])
def test_on_a_gpu_a_process_that_trained_never_times(
    device: Any,
    together: bool,
    disc_data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    tables = {
        "grid": {"networks": ["unet", "enet"], "backends": ["torch"]},
        "limits": {"share_process": True},
    }
    template = template_of(disc_data, tmp_path, **tables).model_copy(update={"device": device})
    given: list[Job] = []
    monkeypatch.setattr(runner, "run_jobs", lambda jobs, _: given.extend(jobs))
    runner.execute(template, grid.cells_of(template, disc_data.meta), lambda _: None)
    assert given
    assert [bool({"train", "measure"} <= set(job.stages)) for job in given] == (
        [True] if together else [False, False]
    )


@pytest.mark.parametrize("deterministic", [True, False])
def test_pytorch_keeps_to_determinism_only_if_it_is_asked_to(
    deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    from backends.torch_backend import TorchBackend

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    before = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    try:
        TorchBackend(Runtime(device="cuda", deterministic=deterministic))
        assert torch.are_deterministic_algorithms_enabled() is deterministic
        assert torch.backends.cudnn.benchmark is not deterministic
        assert ("CUBLAS_WORKSPACE_CONFIG" in os.environ) is deterministic
    finally:
        os.environ.pop("CUBLAS_WORKSPACE_CONFIG", None)
        torch.use_deterministic_algorithms(before[0])
        torch.backends.cudnn.benchmark = before[1]


@pytest.mark.parametrize("deterministic", [True, False])
def test_tensorflow_keeps_to_determinism_only_if_it_is_asked_to(
    deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := registry.missing_modules("keras"):
        pytest.skip(f"{', '.join(missing)} is not installed")
    from backends import keras_engine

    asked: list[bool] = []
    config = SimpleNamespace(
        list_physical_devices=lambda _: ["GPU:0"],
        experimental=SimpleNamespace(
            set_memory_growth=lambda *_: None,
            enable_op_determinism=lambda: asked.append(True),
            enable_tensor_float_32_execution=lambda _: None,
        ),
    )
    fake = SimpleNamespace(config=config, get_logger=keras_engine.tf.get_logger)
    monkeypatch.setattr(keras_engine, "tf", fake)
    keras_engine.start(Runtime(device="cuda", deterministic=deterministic))
    assert asked == [True] * deterministic


@pytest.mark.parametrize("deterministic", [True, False])
def test_xla_keeps_to_determinism_only_if_it_is_asked_to(
    deterministic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing := registry.missing_modules("flax"):
        pytest.skip(f"{', '.join(missing)} is not installed")
    from backends import flax_backend

    fake = SimpleNamespace(
        config=SimpleNamespace(update=lambda *_: None),
        devices=lambda: [SimpleNamespace(platform="gpu")],
    )
    monkeypatch.setattr(flax_backend, "jax", fake)
    monkeypatch.setenv("XLA_FLAGS", "")
    flax_backend.FlaxBackend(Runtime(device="cuda", deterministic=deterministic))
    assert ("deterministic_ops=true" in os.environ["XLA_FLAGS"]) is deterministic


STEERED = {
    "TORCHDYNAMO_DISABLE": "1",
    "NVIDIA_TF32_OVERRIDE": "1",
    "JAX_DEFAULT_MATMUL_PRECISION": "bfloat16",
    "JAX_ENABLE_X64": "1",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "KERAS_FLOATX": "float16",
    "OMP_DYNAMIC": "true",
    "KMP_AFFINITY": "none",
    "MKL_CBWR": "SSE2",
    "OMP_NUM_THREADS": "7",
    "KERAS_HOME": "/somewhere",
}


@pytest.mark.parametrize("backend", ["torch", "keras", "flax"])
def test_what_a_shell_says_steers_no_worker(
    backend: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plain = worker_environment(backend, "cpu", 2)
    for name, value in STEERED.items():
        monkeypatch.setenv(name, value)
    # Where a cache lies changes no result.
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    hostile = worker_environment(backend, "cpu", 2)
    assert hostile.pop("TORCH_HOME") == str(tmp_path)
    assert hostile == plain


def test_what_reaches_a_worker_all_the_same_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LD_PRELOAD", "libodd.so")
    monkeypatch.setenv("MALLOC_ARENA_MAX", "1")
    found = provenance._environment()
    assert (found["LD_PRELOAD"], found["MALLOC_ARENA_MAX"]) == ("libodd.so", "1")


KERAS = """
from backends.contract import Runtime
from backends.keras_backend import KerasBackend
import keras
keras_backend = KerasBackend(Runtime(threads=1))
print(keras.config.floatx(), keras.config.dtype_policy().name, keras.config.image_data_format())
"""


def test_keras_takes_no_precision_from_the_home_folder(tmp_path: Path) -> None:
    (tmp_path / ".keras").mkdir()
    settings = {"floatx": "float16", "image_data_format": "channels_first", "epsilon": 1e-3}
    (tmp_path / ".keras" / "keras.json").write_text(json.dumps(settings))
    environment = worker_environment("keras", "cpu", 1) | {"HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", KERAS], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["float32", "float32", "channels_last"]
