"""Progress of a run: what is said when a worker ends before it began."""

from __future__ import annotations

import sys

import pytest

from harness.cli.progress import Progress

EARLY_DEATH = (
    {"event": "plan", "cells": 2, "done": 0},
    {"event": "worker", "backend": "torch", "cells": 1},
    {"event": "start", "network": "unet", "seed": 0},
    {"event": "done", "network": "unet", "seed": 0, "status": "ok"},
    {"event": "worker", "backend": "flax", "cells": 1},
    {"event": "done", "network": "enet", "status": "crashed"},
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
