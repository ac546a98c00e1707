"""`fetalbench train` when the cell fails: its own status and reason."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.cli import cells
from harness.cli.train import train
from harness.errors import CellFailed, UsageError


def ended(monkeypatch: pytest.MonkeyPatch, status: str, reason: str | None) -> None:
    """Let the run of the cell end so, without a process."""
    key = SimpleNamespace(network="unet", backend="keras")
    record = SimpleNamespace(key=key, status=status, reason=reason)
    monkeypatch.setattr(cells, "run_cells", lambda **_: [record])
    monkeypatch.setattr("harness.records.store.cell_folder", lambda *_: Path("nowhere"))


@pytest.mark.parametrize("status", ["unsupported", "crashed"])
def test_a_cell_that_did_not_end_well_gives_its_reason(
    status: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ended(monkeypatch, status, "Keras cannot do this.")
    with pytest.raises(CellFailed, match=f"^unet × keras is {status}: Keras cannot") as caught:
        train("unet", tmp_path / "x.safetensors", backend="keras")
    assert caught.value.exit_code == 1


def test_a_cell_without_weights_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    ended(monkeypatch, "ok", None)
    with pytest.raises(UsageError, match="'threshold' has no weights to train"):
        train("threshold", tmp_path / "x.safetensors", backend="numpy")
