"""The table of interpreters, with real second virtual environments."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from harness import registry
from harness.errors import EnvironmentFault, UsageError
from harness.jobs import interpreters
from harness.jobs.environment import worker_environment
from tests.conftest import ROOT


@pytest.fixture
def other(tmp_path: Path) -> Path:
    """A virtual environment that has nothing but a PyTorch of version 9.9, which is empty."""
    venv.create(tmp_path / "other", with_pip=False)
    (site,) = (tmp_path / "other").glob("lib/python*/site-packages")
    (site / "torch.py").touch()
    facts = site / "torch-9.9.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: torch\nVersion: 9.9\n")
    return tmp_path / "other"


@pytest.fixture
def same(tmp_path: Path) -> Path:
    """A virtual environment with all that this one has."""
    venv.create(tmp_path / "same", with_pip=False)
    (site,) = (tmp_path / "same").glob("lib/python*/site-packages")
    folders = [ROOT, *sorted({p for p in sys.path if p.endswith("site-packages")})]
    (site / "all.pth").write_text("\n".join(map(str, folders)) + "\n")
    return tmp_path / "same"


def test_without_a_table_one_interpreter_serves_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(interpreters.VARIABLE, "")
    assert {interpreters.interpreter(name) for name in registry.backend_names()} == {sys.executable}


def test_versions_are_those_of_the_other_environment(
    other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(interpreters.VARIABLE, f"torch={other},flax={other}/bin/python")
    assert interpreters.interpreter("torch") == str(other / "bin/python")
    assert interpreters.interpreter("keras") == sys.executable
    assert registry.framework_versions("torch") == {"torch": "9.9"}
    assert registry.missing_modules("torch") == ()
    assert registry.missing_modules("flax") == ("flax", "jax")
    # Keras' other engines live with the framework that they compute with.
    assert registry.missing_modules("keras-torch") == ("keras",)


def test_a_worker_asks_nobody_else(other: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(interpreters.VARIABLE, f"torch={other}")
    inside = worker_environment("torch", "cpu", 1)
    monkeypatch.setenv(interpreters.VARIABLE, inside[interpreters.VARIABLE])
    assert interpreters.table() == {}


@pytest.mark.parametrize(
    ("text", "error", "sentence"),
    [
        ("torch", UsageError, "is not NAME=PATH"),
        ("pytorch=/usr", UsageError, "expected a path for one of torch, keras, flax"),
        ("keras=/nowhere/.venv-keras", EnvironmentFault, "is not there"),
    ],
)
def test_a_wrong_table_is_a_sentence(
    text: str, error: type[Exception], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(interpreters.VARIABLE, text)
    with pytest.raises(error, match=sentence):
        interpreters.table()


def test_the_table_is_written_and_removed_by_the_environment_that_uses_it(
    same: Path, other: Path
) -> None:
    python = str(same / "bin/python")
    outer = {k: v for k, v in os.environ.items() if k != interpreters.VARIABLE}

    def call(*words: str) -> str:
        done = subprocess.run(
            [python, *words], env=outer, cwd=same, capture_output=True, text=True, check=True
        )
        return done.stdout

    call("-m", "harness.jobs.interpreters", f"torch={other}")
    table = same / interpreters.FILE
    assert table.read_text() == f'torch = "{other}/bin/python"\n'
    show = "from harness import registry; print(registry.framework_versions('torch')['torch'])"
    assert call("-c", show) == "9.9\n"
    call("-m", "harness.jobs.interpreters")
    assert not table.exists()
    assert call("-c", show) != "9.9\n"


def test_a_worker_starts_with_its_own_interpreter(
    same: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from harness.checks.clients import WorkerClient

    monkeypatch.setenv(interpreters.VARIABLE, f"torch={same}")
    client = WorkerClient("torch", tmp_path, 1)
    try:
        # Its answer first: before it, the process may still be the fork of this one.
        assert client.ask("trains") is True
        words = Path(f"/proc/{client._process.pid}/cmdline").read_text().split("\0")
        assert words[0] == str(same / "bin/python")
    finally:
        client.close()
    assert Path(words[0]).parent != Path(sysconfig.get_path("scripts"))
