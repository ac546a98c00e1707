"""The estimate of a run: records of this machine first, then a probe, then FLOPs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from harness.data.catalogue import Dataset
from harness.jobs.job import Job
from harness.jobs.recording import make_record
from harness.records import store
from harness.records.schema import CellKey, Cost, Record, Training
from harness.run import estimate, grid, speeds
from harness.run.speeds import Speed, law
from tests.conftest import Fetalbench
from tests.run.test_grid import latencies, template_of


def test_the_law_of_flops_meets_what_it_is_made_of() -> None:
    line = law([(f, 0.01 + 0.02 * f) for f in (0.2, 1.0, 5.0, 80.0)])
    assert line(100.0) == pytest.approx(2.01)
    assert line(0.1) == pytest.approx(0.012)
    # The larger is faster: no line, and nothing is faster than the fastest.
    odd = law([(1.0, 0.5), (2.0, 0.1)])
    assert odd(0.5) == 0.1
    one = law([(2.0, 0.1)])
    assert (one(1.0), one(20.0)) == (0.1, pytest.approx(1.0))


def trained(template: Job, dataset: Dataset, key: CellKey, *, gflops: float, rate: float) -> None:
    """A record of a cell that trained `rate` images per second, and inferred at 5 ms an image."""
    record = make_record(template, key, dataset.meta, status="ok", reason=None)
    entries = [
        entry.model_copy(update={"median_ms": 5.0 * entry.batch, "default": True})
        for entry in latencies(template, key, ["eager"])
    ]
    numbers: dict[str, Any] = {"macs": 1, "other_ops": 1, "paper_convention_gflops": 1.0}
    numbers |= {"trainable_parameters": 1, "other_parameters": 0}
    update = {
        "latency": entries,
        "cost": Cost(height=64, width=64, flops=int(gflops * 1e9), **numbers),
        "training": Training(
            weights_from="torch",
            loss="dice",
            epochs=2,
            steps=8,
            best_epoch=1,
            best_validation_dice=0.5,
            train_slices=40,
            validation_slices=10,
            seconds=80 / rate,
            images_per_second=rate,
            weights_sha256="0" * 64,
        ),
    }
    store.commit(template.results, Record.model_validate(record.model_dump() | update))


def cells(template: Job, dataset: Dataset, *networks: str) -> list[grid.GridCell]:
    chosen: dict[str, Any] = {"networks": networks, "backends": ["torch"], "seeds": [1]}
    return grid.cells_of(template, dataset.meta, **chosen)


def test_records_of_this_machine_tell_and_flops_tell_the_rest(
    disc_data: Dataset, tmp_path: Path
) -> None:
    template = template_of(disc_data, tmp_path, training={"epochs": 10})
    for name, gflops, rate in (("enet", 1.0, 50.0), ("unet", 21.0, 10.0)):
        (cell,) = cells(template, disc_data, name)
        key = cell.key.model_copy(update={"seed": 0})
        trained(template, disc_data, key, gflops=gflops, rate=rate)
    asked = cells(template, disc_data, "enet", "unet", "icnet")
    known = speeds.from_records(template, [cell.key for cell in asked])
    assert known.known["enet", "torch"].training_s == pytest.approx(0.02)
    assert known.known["enet", "torch"].inference_s == pytest.approx(0.005)
    # 0.016 s + 0.004 s per GFLOP; the paper's count of ICNet at 64×64.
    found = known.of(asked[2].key)
    assert found is not None
    assert found.source == "scaled"
    assert found.training_s == pytest.approx(0.016 + 0.004 * 1.81 / 16, rel=1e-3)
    # Forty slices, of which a fifth validates, ten epochs; forty test slices.
    own = estimate.estimate(template, disc_data.meta, asked, known)
    scoring = estimate.PROCESS_SECONDS + 40 * (2 * 0.005 + estimate.SCORE_SECONDS)
    assert own[0].training_s == pytest.approx(scoring + 10 * (40 * 0.02 + 10 * 0.005))
    assert own[0].source == "record"
    text = " ".join(estimate.sentences(asked, own, known))
    assert "3 cells: 3 to do." in text
    assert "2 cells by records of this machine" in text
    assert "1 cells scaled by FLOPs" in text


def test_another_protocols_size_scales_by_pixels(disc_data: Dataset, tmp_path: Path) -> None:
    template = template_of(disc_data, tmp_path)
    (cell,) = cells(template, disc_data, "enet")
    key = cell.key.model_copy(update={"seed": 0})
    trained(template, disc_data, key, gflops=1.0, rate=50.0)
    larger = template_of(disc_data, tmp_path, input={"height": 128, "width": 128})
    known = speeds.from_records(larger, [cell.key])
    assert known.known["enet", "torch"].training_s == pytest.approx(4 * 0.02)
    assert known.flops["enet"] == pytest.approx(4e9)


def test_another_framework_is_the_last_resort_and_its_spread_the_widest() -> None:
    known = speeds.Speeds(known={("enet", "torch"): Speed(inference_s=0.01)}, flops={"enet": 1e9})
    names = {"dataset": "d", "dataset_hash": 64 * "0", "protocol": "p", "protocol_hash": 64 * "0"}
    found = known.of(CellKey(network="enet", backend="flax", seed=0, **names))
    assert found == Speed(inference_s=0.01, training_s=0.03, source="other framework")
    assert max(speeds.SPREAD, key=lambda source: speeds.SPREAD[source]) == "other framework"
    nothing = speeds.Speeds()
    assert nothing.of(CellKey(network="enet", backend="flax", seed=0, **names)) is None


@pytest.mark.slow  # a probe trains and measures
def test_plan_probes_what_no_record_tells_of(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text('name = "p"\n[input]\nheight = 64\nwidth = 64\n')
    words = ("plan", "--data", disc_data.folder, "--protocol", "p.toml", "--backends", "torch")
    words += ("--networks", "dfanet,rfbsnet")
    without = fetalbench(*words, "--no-probe", "--json")
    assert without.returncode == 0, without.stderr
    rows = json.loads(without.stdout)
    assert [row["training_s"] for row in rows] == [None, None]
    assert "No estimate of 2 cells" in without.stderr
    probed = fetalbench(*words, "--json")
    assert probed.returncode == 0, probed.stderr
    rows = json.loads(probed.stdout)
    assert [row["estimated_from"] for row in rows] == ["probe", "probe"]
    # A hundred epochs of forty slices; no machine does that in a second, nor takes a week.
    assert all(10 < row["training_s"] < 600_000 for row in rows)
    assert all(row["measuring_s"] > 5 for row in rows)
    assert re.search(r"Estimated: .* of training and scoring, .* of measuring", probed.stderr)
    assert "by a few steps of dfanet × torch and rfbsnet × torch just now" in probed.stderr
    assert not (tmp_path / "results").exists()


def test_a_phantom_is_planned_before_it_is_computed(fetalbench: Fetalbench) -> None:
    words = ("plan", "--phantom", "paper", "--protocol", "paper", "--networks", "threshold")
    done = fetalbench(*words, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    assert "3 cells: 3 to do." in done.stdout
    assert "phantom-paper" in done.stdout
    again = fetalbench("plan", "--phantom", "papper")
    assert again.returncode == 2
    assert "did you mean 'paper'?" in again.stderr


@pytest.mark.slow  # runs the cells first
def test_nothing_to_do_is_said_and_not_probed(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "p.toml").write_text('name = "p"\n[input]\nheight = 64\nwidth = 64\n')
    words = ("--data", disc_data.folder, "--protocol", "p.toml", "--networks", "threshold")
    assert fetalbench("run", *words).returncode == 0
    done = fetalbench("plan", *words)
    assert "1 cells: 1 done." in done.stdout
    assert "Nothing to do." in done.stdout
