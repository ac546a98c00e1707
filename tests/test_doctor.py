"""`doctor`: each thing looked at has its line, and what is not well a remedy."""

from __future__ import annotations

import pytest

from harness import doctor as looked
from harness import registry
from harness.doctor import Check, checks
from harness.measuring.machine import machine


def found(*, deep: bool = False) -> dict[str, Check]:
    return {check.what: check for check in checks(deep=deep)}


def test_every_framework_and_runtime_has_a_line() -> None:
    lines = found()
    titles = {registry.BACKEND_TITLES[name] for name in ("torch", "keras", "flax")}
    assert {what for what, check in lines.items() if check.is_framework} == titles
    assert {"ONNX Runtime", "OpenVINO"} <= set(lines)


def test_what_is_missing_has_its_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "missing", lambda modules, _backend="": tuple(modules))
    lines = found()
    assert lines["ONNX Runtime"].status == "missing"
    assert lines["ONNX Runtime"].remedy == "pip install 'fetalbench[deploy]'"
    assert lines["PyTorch"].remedy == "pip install 'fetalbench[torch]'"


def test_a_runtime_that_does_not_import_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    # An import that fails in a process of its own, without the seconds of a framework's.
    monkeypatch.setattr(registry, "frameworks", tuple)
    monkeypatch.setattr(looked, "RUNTIMES", (("harness.no_such", "Gone"), ("json", "Json")))
    monkeypatch.setattr(registry, "missing", lambda _modules, _backend="": ())
    lines = found(deep=True)
    assert lines["Gone"].status == "broken"
    assert "No module named 'harness.no_such'" in lines["Gone"].detail
    assert "--force-reinstall" in lines["Gone"].remedy
    assert lines["Json"].status == "ok"


@pytest.mark.parametrize(
    ("name", "present", "status"),
    [("NVIDIA H100", True, "ok"), (None, True, "low"), (None, False, "missing")],
)
def test_a_gpu_without_nvml_is_not_well(
    name: str | None, present: bool, status: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = machine().model_copy(update={"gpu": name})
    monkeypatch.setattr(looked, "machine", lambda: here)
    monkeypatch.setattr(looked, "gpu_present", lambda: present)
    gpu = found()["gpu"]
    assert gpu.status == status
    assert bool(gpu.remedy) == (status != "ok")
    assert ("nvidia-ml-py" in gpu.remedy) == (status == "low")
