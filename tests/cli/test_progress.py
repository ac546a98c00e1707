"""Progress of a run: what is said when a worker ends before it began."""

from __future__ import annotations

import sys

import pytest

from harness.cli.progress import Progress
from harness.jobs import events
from harness.records.schema import CellKey


def cell(network: str, backend: str) -> CellKey:
    return CellKey(
        network=network,
        backend=backend,
        dataset="discs",
        dataset_hash="a" * 64,
        protocol="tiny",
        protocol_hash="b" * 64,
        seed=0,
    )


EARLY_DEATH: tuple[events.Event, ...] = (
    events.GridReady(todo=2, done=0),
    events.WorkerStarted(backend="torch", cells=1),
    events.CellStarted(cell=cell("unet", "torch")),
    events.CellDone(cell=cell("unet", "torch"), status="ok"),
    events.WorkerStarted(backend="flax", cells=1),
    events.CellDone(cell=cell("enet", "flax"), status="crashed"),
)


@pytest.mark.parametrize("first", [0, 4], ids=["after a cell", "as the first"])
@pytest.mark.parametrize("terminal", [True, False])
def test_a_worker_that_dies_before_its_first_event_has_its_line(
    terminal: bool,
    first: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: terminal)
    with Progress() as progress:
        progress(EARLY_DEATH[0])
        for event in EARLY_DEATH[max(1, first) :]:
            progress(event)
    lines = [line for line in capsys.readouterr().err.splitlines() if "crashed" in line]
    assert any("enet × flax: crashed" in line for line in lines)
