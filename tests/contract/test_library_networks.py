"""Five networks of other people's libraries, from the example package, on a leaderboard."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from tests.conftest import ROOT
from tests.plugins import fetalbench, install

EXAMPLE = ROOT / "examples" / "library_networks"
NETWORKS = (
    "monai_basic_unet",
    "nnunet_plain",
    "smp_segformer",
    "smp_unet",
    "torchvision_lraspp",
)
LIBRARIES = (
    "monai.networks.nets",
    "dynamic_network_architectures.architectures.unet",
    "segmentation_models_pytorch",
    "torchvision.models.segmentation",
)
# Of card, imports and documentation only what builds the network counts.
MOST_LINES = 10


def _missing() -> str:
    """Which library cannot be imported here, asked of a process of its own."""
    for module in LIBRARIES:
        words = [sys.executable, "-W", "ignore", "-c", f"import {module}"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            return f"{module} cannot be imported: {done.stderr.strip().splitlines()[-1]}"
    return ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the example package, installed by pip."""
    reason = _missing()
    if reason:
        pytest.skip(f"{reason} (pip install 'fetalbench[libraries]')")
    folder = tmp_path_factory.mktemp("library")
    # pip builds in the folder that it installs from.
    shutil.copytree(EXAMPLE, folder / "source")
    install(folder / "source", folder / "site")
    return folder / "site"


def test_each_takes_at_most_ten_lines() -> None:
    for name in NETWORKS:
        text = (EXAMPLE / "fetalbench_library" / name / "torch_net.py").read_text(encoding="utf-8")
        code = [line for line in text.splitlines() if line.strip() and not line.startswith('"""')]
        body = [line for line in code if '"""' not in line]
        assert len(body) <= MOST_LINES, name


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_check_passes(site: Path, name: str, tmp_path: Path) -> None:
    done = fetalbench("check", name, "--backends", "torch", "--json", site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    verdicts = {row["what"]: row["verdict"] for row in json.loads(done.stdout)}
    assert set(verdicts.values()) == {"passed", "skipped"}
    assert [what for what, verdict in verdicts.items() if verdict == "skipped"] == ["parity"]


@pytest.mark.slow
def test_they_stand_on_a_leaderboard(site: Path, tmp_path: Path, disc_data: Dataset) -> None:
    words = ["--networks", ",".join(NETWORKS), "--backends", "torch", "--results", "results"]
    run = ["run", "--protocol", "smoke", "--data", disc_data.folder, *words]
    done = fetalbench(*run, site=site, cwd=tmp_path, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr
    done = fetalbench("report", "--results", "results", "--out", "reports", site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")
    for title in ("BasicUNet (MONAI)", "PlainConvUNet (nnU-Net)", "SegFormer B0 (smp)"):
        assert title in page


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_export_is_proven(site: Path, name: str, tmp_path: Path) -> None:
    words = ["export", name, "--size", "64x64", "--out", f"{name}.onnx"]
    done = fetalbench(*words, site=site, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / f"{name}.onnx").is_file()
