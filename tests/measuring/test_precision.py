"""A protocol that trains in TF32 is refused where there is none, before anything starts."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.data.catalogue import Dataset
from harness.errors import EnvironmentFault
from harness.jobs.job import Job
from harness.measuring import nvml
from harness.measuring.nvml import GpuFacts
from harness.measuring.precision import require_precision
from harness.protocol import Protocol, parse_protocol
from harness.run import grid
from harness.worker.checkpoint import checkpoint_of
from tests.conftest import Fetalbench
from tests.run.test_grid import template_of

OLD = GpuFacts(name="Tesla V100", compute_capability=(7, 0))
NEW = GpuFacts(name="A100", compute_capability=(8, 0))
SILENT = GpuFacts(name="some GPU")


def protocol(**tables: object) -> Protocol:
    return parse_protocol({"name": "x"} | tables, "x")


@pytest.mark.parametrize(
    "tables",
    [{"training": {"precision": "tf32"}}, {"networks": {"unet": {"precision": "tf32"}}}],
)
def test_tf32_needs_a_gpu_since_ampere(tables: dict[str, object]) -> None:
    chosen = protocol(**tables)
    with pytest.raises(EnvironmentFault, match='this is a CPU: choose "float32" or "bfloat16"'):
        require_precision(chosen, "cpu")
    with pytest.raises(EnvironmentFault, match="since Ampere, and Tesla V100 is older"):
        require_precision(chosen, "cuda", OLD)
    require_precision(chosen, "cuda", NEW)
    require_precision(chosen, "cuda", SILENT)


def test_other_precisions_run_everywhere() -> None:
    for precision in ("float32", "bfloat16"):
        require_precision(protocol(training={"precision": precision}), "cpu")
        require_precision(protocol(training={"precision": precision}), "cuda", OLD)


def test_the_driver_tells_the_generation() -> None:
    answers = {
        "nvmlDeviceGetName": lambda _: "Tesla V100",
        "nvmlDeviceGetMemoryInfo": lambda _: SimpleNamespace(total=2**34),
        "nvmlDeviceGetCudaComputeCapability": lambda _: [7, 0],
    }
    library = SimpleNamespace(NVMLError=RuntimeError, **answers)
    found = nvml.gpu_facts(_with_one_gpu(library))
    assert found is not None
    assert found.compute_capability == (7, 0)


def _with_one_gpu(library: SimpleNamespace) -> SimpleNamespace:
    library.nvmlDeviceGetCount = lambda: 1
    library.nvmlDeviceGetHandleByIndex = lambda _: "handle"
    library.nvmlDeviceGetUUID = lambda _: "GPU-0"
    return library


def test_plan_says_it_in_one_sentence(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    path = tmp_path / "x.toml"
    path.write_text('name = "x"\n[training]\nprecision = "tf32"\n')
    done = fetalbench("plan", "--data", disc_data.folder, "--protocol", path, "--device", "cpu")
    assert done.returncode == 4
    assert done.stderr.strip().count("\n") == 0
    assert "trains in TF32" in done.stderr


def test_a_checkpoint_names_its_precision(disc_data: Dataset, tmp_path: Path) -> None:
    def identity(precision: str) -> object:
        tables = {"grid": {"networks": ["unet"], "backends": ["torch"]}}
        template: Job = template_of(
            disc_data, tmp_path, training={"precision": precision}, **tables
        )
        (cell,) = grid.cells_of(template, disc_data.meta)
        return checkpoint_of(template, cell.key).identity["precision"]

    assert [identity(each) for each in ("float32", "bfloat16")] == ["float32", "bfloat16"]
