"""The Makefile and what repeats its commands: containers, pins. Nothing is installed or run."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from collections.abc import Sequence

import pytest

from tests.conftest import ROOT

FRAMEWORKS = ("torch", "keras", "jax")


def dry_run(*words: str, old: Sequence[str] = ()) -> list[str]:
    """The commands that make would run; the files `old` are taken as made."""
    # As from a shell: these tests are themselves started by make.
    outer = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS")}
    command = ["make", "--dry-run", *(f"--old-file={name}" for name in old), *words]
    done = subprocess.run(command, cwd=ROOT, env=outer, capture_output=True, text=True, check=True)
    return [" ".join(line.split()) for line in done.stdout.splitlines()]


def reproduce(*words: str) -> list[str]:
    return dry_run("GPU=0", *words, "reproduce", old=[".venv/installed-cpu"])


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_reproduce_asks_for_a_gpu_before_it_does_anything(device: str) -> None:
    first, *rest = reproduce(f"DEVICE={device}")
    assert first == f'test "{device}" = cpu || .venv/bin/fetalbench doctor --gpu'
    cells = f"--protocol paper --data ./data/paper --results ./results --device {device}"
    assert any(line.startswith(f".venv/bin/fetalbench run {cells}") for line in rest)
    assert rest[-1] == ".venv/bin/fetalbench report --results ./results --out ./reports"


def test_reproduce_passes_on_what_is_chosen() -> None:
    first, *rest = reproduce("DATA=data/mine", "BACKENDS=torch,jax", "SEEDS=0", "OUT=/out")
    assert first.endswith("doctor --gpu --backends torch,jax")
    cells = (
        "--protocol paper --data data/mine --results /out/results --device auto "
        "--backends torch,jax --seeds 0"
    )
    assert f".venv/bin/fetalbench plan {cells}" in rest
    assert any(line.startswith(f".venv/bin/fetalbench run {cells}") for line in rest)


def test_rates_are_tuned_before_the_run_that_uses_them() -> None:
    lines = reproduce("TUNE=1", "DEVICE=cpu", "PRESET=tiny", "NETWORKS=unet")
    (tune,) = [i for i, line in enumerate(lines) if "fetalbench tune" in line]
    assert lines[tune].startswith(
        ".venv/bin/fetalbench tune tiny --data build/tiny/data/tiny "
        "--out build/tiny/tiny_tuned.toml --device cpu --networks unet"
    )
    run = ".venv/bin/fetalbench run --protocol build/tiny/tiny_tuned.toml"
    assert [i > tune for i, line in enumerate(lines) if line.startswith(run)] == [True]


def test_a_plan_starts_nothing() -> None:
    lines = reproduce("PLAN=1", "DEVICE=cpu", "PRESET=tiny")
    # Beside what was published, which the same protocol would find done.
    assert lines[-1].startswith(
        ".venv/bin/fetalbench plan --phantom tiny --protocol tiny --data build/tiny/data/tiny "
        "--results build/tiny/results"
    )
    assert not any("data phantom" in line for line in lines)
    assert not any("fetalbench tune" in line for line in reproduce("PLAN=1", "TUNE=1"))
    assert not any("fetalbench run" in line or "fetalbench report" in line for line in lines)


def test_a_gpu_box_gets_an_environment_for_each_framework() -> None:
    lines = dry_run("GPU=1", "install", old=[".venv/installed-cpu"])
    for name in FRAMEWORKS:
        (line,) = [line for line in lines if f".[gpu-{name}]" in line]
        assert line.startswith(f".venv-{name}/bin/python -m pip install")
        assert f"--constraint constraints/gpu-{name}.txt" in line
    assert (
        ".venv/bin/python -m harness.jobs.interpreters torch=.venv-torch keras=.venv-keras "
        "flax=.venv-jax"
    ) in lines
    assert dry_run("GPU=0", "install", old=[".venv/installed-cpu"])[0].startswith("make: Nothing")


def test_the_index_of_cpu_builds_is_a_choice() -> None:
    assert "extra-index" not in " ".join(dry_run("-B", "GPU=0", "install"))
    chosen = " ".join(dry_run("-B", "GPU=0", "TORCH_INDEX=https://example.org/cpu", "install"))
    assert "--extra-index-url https://example.org/cpu" in chosen


@pytest.mark.parametrize("file", ["Dockerfile", "fetalbench.def"])
def test_containers_run_commands_of_the_makefile(file: str) -> None:
    text = (ROOT / file).read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    called = [*re.findall(r"\bmake (?:-C \S+ )?([a-z-]+)", text)]
    called += re.findall(r'"make", "([a-z-]+)"', text)
    assert {"install", "reproduce"} == set(called) <= targets
    assert re.search(r"make install GPU=(\$GPU|\{\{ GPU \}\})", text)
    assert "pip" not in text


def test_the_docker_image_does_not_run_as_root() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    user = lines.index("USER 1000")
    assert user < next(i for i, line in enumerate(lines) if line.startswith("RUN make install"))
    assert "USER root" not in lines


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / "constraints" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("==") for line in lines if line and not line.startswith("#"))
    return {re.sub(r"[-_.]+", "-", key).lower(): value for key, value in pairs}


@pytest.mark.parametrize("name", FRAMEWORKS)
def test_both_worlds_have_the_same_versions(name: str) -> None:
    cpu = pins("cpu") | {"tensorflow": pins("cpu")["tensorflow-cpu"]}
    gpu = pins(f"gpu-{name}")
    other = {key: value for key, value in gpu.items() if key in cpu and cpu[key] != value}
    assert other == {}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = project["dependencies"] + project["optional-dependencies"][f"gpu-{name}"]
    names = {re.split(r"[\[>=<]", word)[0].lower() for word in wanted}
    assert names <= set(gpu)


def test_no_environment_holds_both_runtimes_of_onnx() -> None:
    assert "onnxruntime" not in pins("gpu-torch")
    assert "onnxruntime-gpu" not in pins("cpu")


def test_tensorrt_is_an_extra_of_the_pytorch_environment() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    names = [re.split(r"[>=<]", word)[0] for word in extras["tensorrt"]]
    assert names == ["onnxruntime-gpu", "tensorrt-cu13"]
    assert not any(
        "tensorrt" in word for name in extras if name != "tensorrt" for word in extras[name]
    )
    # ONNX Runtime looks for libnvinfer.so.10.
    assert pins("gpu-torch")["tensorrt-cu13"].split(".")[0] == "10"
