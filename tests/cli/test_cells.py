"""What `run` and `stream` say at their end."""

from __future__ import annotations

from typing import Any

import pytest

from harness.cli.cells import show_cells
from harness.cli.stream import verdict
from harness.records.schema import CellKey, Latency, Machine, Provenance, Record, Status

ROW: dict[str, Any] = {
    "network": "unet",
    "backend": "torch",
    "plan": "eager",
    "slices": 100,
    "missed": 0,
    "missed_share_upper": 0.031,
    "deadline_ms": 30.0,
    "median_ms": 11.0,
    "worst_ms": 18.25,
    "doubts": [],
}


def record(status: Status) -> Record:
    names = {"dataset": "d", "dataset_hash": 64 * "0", "protocol": "p", "protocol_hash": 64 * "0"}
    machine = Machine(name="m", processor="p", cores=2, memory_bytes=1, system="s")
    entry = {"plan": "eager", "precision": "float32", "quantity": "end_to_end", "batch": 1}
    latency = Latency(**entry, profile="quick", status=status, median_ms=12.5)
    return Record(
        key=CellKey(network="unet", backend="torch", seed=0, **names),
        status="ok",
        created_at="2026-01-01T00:00:00Z",
        title="U-Net",
        command="fetalbench run",
        protocol={},
        dataset={},
        provenance=Provenance(
            fetalbench="0",
            git_commit=None,
            git_dirty=None,
            python="3",
            versions={},
            environment={},
            machine=machine,
        ),
        latency=[latency],
    )


@pytest.mark.parametrize(("status", "shown"), [("ok", True), ("invalid", False), ("oom", False)])
def test_a_latency_that_is_not_ok_is_not_shown(
    status: Status, shown: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    show_cells([record(status)])
    assert ("12.5" in capsys.readouterr().out) == shown


def test_a_network_that_keeps_up_says_by_how_much() -> None:
    assert verdict(ROW, "interactive, 30 ms a slice") == (
        "unet × torch (eager) keeps up with interactive, 30 ms a slice: the slowest of 100 slices "
        "took 18.2 ms of 30 ms, 11.8 ms to spare; at most 3.1% of all are late with 95 % "
        "confidence."
    )


def test_one_that_does_not_says_so_and_what_to_doubt() -> None:
    late = ROW | {"missed": 3, "worst_ms": 44.0, "doubts": ["other processes took 9%."]}
    assert verdict(late, "bursts") == (
        "unet × torch (eager) does not keep up with bursts: 3 of 100 slices were late, the slowest "
        "by 14.0 ms (median 11.0 ms of 30 ms). Doubtful: other processes took 9%."
    )
