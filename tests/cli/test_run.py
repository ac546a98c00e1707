"""The command line on real processes: run, interrupt, resume, train, evaluate, measure, compare."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import save

from backends.weights import digest, read_arrays
from harness.data.catalogue import Dataset
from harness.measuring.machine import machine
from harness.protocol import load_protocol
from harness.records.schema import CellKey
from harness.records.soundness import digest_of
from harness.records.store import CHECKPOINT, StoredRecord, load_records, work_folder
from tests.conftest import ROOT, Fetalbench

PROTOCOL = """
name = "short"
[input]
height = 64
width = 64
[training]
loss = "dice_ce"
learning_rate = 1e-3
epochs = {epochs}
validation_share = 0.2
{training}
[measuring]
profile = "quick"
quantities = ["end_to_end"]
[limits]
cell_seconds = {seconds}
"""


def protocol(folder: Path, *, epochs: int = 2, training: str = "", seconds: float = 300) -> Path:
    path = folder / "short.toml"
    path.write_text(PROTOCOL.format(epochs=epochs, training=training, seconds=seconds))
    return path


def records(folder: Path) -> dict[str, StoredRecord]:
    return {stored.record.key.network: stored for stored in load_records(folder / "results")}


def test_run_leaves_records_whose_numbers_can_be_traced(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    words = ("run", "--data", disc_data.folder, "--protocol", protocol(tmp_path), "--backends")
    done = fetalbench(*words, "torch,numpy", "--networks", "rfbsnet,threshold")
    assert done.returncode == 0, done.stderr
    found = records(tmp_path)
    assert set(found) == {"rfbsnet", "threshold"}
    for stored in found.values():
        record = stored.record
        assert record.status == "ok"
        slices = stored.slices()
        for name, scores in record.scores.items():
            part = slices[(slices["set"] == name) & (slices["brain_pixels"] > 0)]
            assert scores.dice == part["dice"].mean()
        assert len(stored.predictions()) == len(slices)
        samples = stored.latency_samples()["latency_ns"]
        (summary,) = record.latency
        assert summary.median_ms == pytest.approx(float(np.median(samples)) / 1e6, rel=1e-3)
        assert not record.dataset.get("source")
        assert str(Path.home()) not in record.model_dump_json()
    trained = found["rfbsnet"].record
    assert trained.cost is not None
    assert trained.cost.trainable_parameters == 2_154_328
    assert trained.training is not None
    assert trained.training.deterministic is True
    assert [entry.deterministic for entry in trained.latency] == [False]
    assert all(entry.synchronise_ms is not None for entry in trained.latency)
    assert len(found["rfbsnet"].history()) == 2
    assert found["threshold"].record.cost_reason

    again = fetalbench(*words, "torch,numpy", "--networks", "rfbsnet,threshold")
    assert again.returncode == 0
    assert "0 cells to do, 2 done" in again.stderr
    compared = fetalbench("compare", "--json")
    assert compared.returncode == 0, compared.stderr
    page = fetalbench("report")
    assert page.returncode == 0, page.stderr
    assert "<html" in (tmp_path / "reports" / "index.html").read_text(encoding="utf-8")


@pytest.mark.slow  # ten seconds of queries, which is what the profile is
def test_published_latencies_come_from_three_processes(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    path = protocol(tmp_path)
    path.write_text(path.read_text().replace('"quick"', '"publish"'))
    words = ("run", "--data", disc_data.folder, "--protocol", path, "--networks", "threshold")
    done = fetalbench(*words)
    assert done.returncode == 0, done.stderr
    assert "3 measuring processes to do" in done.stderr
    stored = records(tmp_path)["threshold"]
    (summary,) = stored.record.latency
    samples = stored.latency_samples()
    assert (summary.processes, summary.default) == (3, True)
    assert set(samples["process"]) == {0, 1, 2}
    assert summary.queries == len(samples) >= 1024
    assert samples["latency_ns"].sum() >= 10e9
    assert summary.median_ms == np.median(samples["latency_ns"]) / 1e6
    assert stored.slices()["set"].nunique() == 2
    assert "0 cells to do, 1 done" in fetalbench(*words).stderr

    # A run that was cut off after the second process resumes with the third.
    folder = stored.folder
    record = json.loads((folder / "record.json").read_text())
    record["latency"][0]["processes"] = 2
    record["digest"] = digest_of(record)
    (folder / "record.json").write_text(json.dumps(record))
    planned = fetalbench("plan", *words[1:], "--json")
    assert json.loads(planned.stdout)[0]["reason"] == "1 measuring process missing"
    again = fetalbench(*words)
    assert "1 measuring processes to do" in again.stderr, again.stderr
    (repaired,) = records(tmp_path)["threshold"].record.latency
    samples = records(tmp_path)["threshold"].latency_samples()
    assert (repaired.processes, repaired.queries) == (3, len(samples))
    assert set(samples["process"]) == {0, 1, 2}


def test_interrupted_it_goes_on_from_its_last_epoch(disc_data: Dataset, tmp_path: Path) -> None:
    path = protocol(tmp_path, epochs=15)
    words = [sys.executable, "-m", "harness.cli", "run", "--data", str(disc_data.folder)]
    words += ["--protocol", str(path), "--networks", "threshold,rfbsnet", "--backends"]
    words += ["numpy,torch", "--seeds", "0"]
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    floor = ["--networks", "threshold", "--backends", "numpy"]
    subprocess.run([*words, *floor], cwd=tmp_path, env=environment, check=True)
    process = subprocess.Popen(
        words, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    checkpoint = tmp_path / "results" / ".work"
    deadline = time.monotonic() + 120
    while not list(checkpoint.rglob("checkpoint.safetensors")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "start the same command again to resume" in errors
    (before,) = load_records(tmp_path / "results")
    assert before.record.key.network == "threshold"
    done = subprocess.run(
        words, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    # Measured since, and neither trained nor evaluated again.
    after = records(tmp_path)["threshold"].record
    assert after.created_at == before.record.created_at
    assert after.files["slices.parquet"] == before.record.files["slices.parquet"]
    training = records(tmp_path)["rfbsnet"].record.training
    assert training is not None
    assert 0 < training.resumed_from_epoch < 15
    assert training.epochs == 15
    assert not list(checkpoint.rglob("checkpoint.safetensors"))


@pytest.mark.slow  # trains: half a minute
def test_a_run_interrupted_before_the_rooms_starts_its_training_again_and_says_so(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    """Leftovers of another code: a checkpoint whose identity was one string, a job of its words."""
    path = protocol(tmp_path, epochs=1)
    key = CellKey(
        network="rfbsnet",
        backend="torch",
        dataset=disc_data.meta.name,
        dataset_hash=disc_data.meta.hash,
        protocol="short",
        protocol_hash=load_protocol(str(path)).hash,
        seed=0,
    )
    work = work_folder(tmp_path / "results", machine().name, key)
    work.mkdir(parents=True)
    state = {"identity": '[{"network": "rfbsnet"}, "cpu", 0, ["0.1"]]', "epoch": 1}
    content = save({"best/x": np.zeros(1, np.float32)}, metadata={"state": json.dumps(state)})
    (work / CHECKPOINT).write_bytes(content)
    (work / "job.1.json").write_text('{"cells": [], "plan": "", "threads": 0}')
    words = ("run", "--data", disc_data.folder, "--protocol", path)
    done = fetalbench(*words, "--networks", "rfbsnet", "--backends", "torch")
    assert done.returncode == 0, done.stderr
    line = "the checkpoint was written by an older version of fetalbench: training starts from the"
    assert f"rfbsnet × torch: {line} beginning" in done.stderr
    record = records(tmp_path)["rfbsnet"].record
    assert record.training is not None
    assert record.training.resumed_from_epoch == 0


@pytest.mark.slow  # waits for a limit: half a minute
def test_a_cell_that_takes_too_long_is_a_timeout_and_the_rest_goes_on(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    path = protocol(tmp_path, epochs=100_000, seconds=12)
    done = fetalbench(
        "run", "--data", disc_data.folder, "--protocol", path, "--networks", "rfbsnet,threshold",
        "--backends", "torch,numpy",
    )  # fmt: skip
    assert done.returncode == 1
    found = records(tmp_path)
    assert found["rfbsnet"].record.status == "timeout"
    assert found["rfbsnet"].record.reason == "took more than 12 s"
    assert not found["rfbsnet"].record.scores
    assert found["threshold"].record.status == "ok"


def test_a_worker_that_is_killed_is_a_crash_with_its_signal(
    disc_data: Dataset, tmp_path: Path
) -> None:
    path = protocol(tmp_path, epochs=100_000)
    words = [sys.executable, "-m", "harness.cli", "run", "--data", str(disc_data.folder)]
    words += ["--protocol", str(path), "--networks", "rfbsnet", "--backends", "torch"]
    process = subprocess.Popen(
        words,
        cwd=tmp_path,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list((tmp_path / "results").rglob("checkpoint.safetensors")):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (worker,) = subprocess.run(
        ["pgrep", "-P", str(process.pid)], capture_output=True, text=True, check=True
    ).stdout.split()
    os.kill(int(worker), signal.SIGKILL)
    assert process.wait(timeout=60) == 1
    record = records(tmp_path)["rfbsnet"].record
    assert record.status == "crashed"
    assert "SIGKILL" in (record.reason or "")


def test_collapse_is_diverged_and_not_a_zero(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    path = protocol(tmp_path)
    # So large a step throws every ReLU to one side: a network that is dead for good.
    text = path.read_text().replace("learning_rate = 1e-3", "learning_rate = 0.05")
    path.write_text(text.replace("dice_ce", "dice"))
    done = fetalbench(
        "run", "--data", disc_data.folder, "--protocol", path, "--networks", "rfbsnet",
        "--backends", "torch",
    )  # fmt: skip
    record = records(tmp_path)["rfbsnet"].record
    assert done.returncode == 1
    assert record.status == "diverged"
    assert "one class everywhere" in (record.reason or "")
    assert "try the loss 'dice_ce'" in (record.reason or "")
    assert not record.scores


@pytest.mark.slow  # five commands, each with processes of its own: a minute and a half
def test_train_evaluate_and_measure_by_themselves(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    path = protocol(tmp_path)
    shared = ("--data", disc_data.folder, "--protocol", path)
    done = fetalbench("train", "rfbsnet", "--out", "net.safetensors", *shared)
    assert done.returncode == 0, done.stderr
    done = fetalbench("evaluate", "rfbsnet", "--weights", "net.safetensors", *shared)
    assert done.returncode == 0, done.stderr
    (evaluated,) = load_records(tmp_path / "evaluations")
    assert evaluated.record.scores["normal"].slices == 20
    assert evaluated.record.command.startswith("fetalbench evaluate rfbsnet --backend torch")
    measure = ("measure", "rfbsnet", "--weights", "net.safetensors", *shared)
    done = fetalbench(*measure, "--batch", "1,2")
    assert done.returncode == 0, done.stderr
    # Another plan and another size find their place in the same record; nothing is done twice.
    done = fetalbench(*measure, "--plan", "eager,onnxruntime,cuda-graphs-float32", "--batch", "1")
    assert done.returncode == 0, done.stderr
    assert "2 measuring processes to do" in done.stderr
    (measured,) = load_records(tmp_path / "measurements")
    found = {(entry.plan, entry.batch): entry for entry in measured.record.latency}
    assert {key: entry.status for key, entry in found.items()} == {
        ("eager", 1): "ok",
        ("eager", 2): "ok",
        ("onnxruntime", 1): "ok",
        ("cuda-graphs-float32", 1): "unsupported",
    }
    assert [entry.default for entry in found.values()] == [True, True, False, False]
    memory = found["onnxruntime", 1].memory
    assert (memory["rss_peak_bytes"].bytes or 0) > 0
    samples = measured.latency_samples()
    assert samples["latency_ns"].dtype == np.int64
    assert samples.groupby(["plan", "batch"]).size().min() >= 64
    # Each plan that was timed is scored, beside the same reference as `evaluate` has.
    accuracy = {entry.plan: entry for entry in measured.record.accuracy}
    assert {plan: entry.status for plan, entry in accuracy.items()} == {
        "eager": "ok",
        "onnxruntime": "ok",
    }
    pd.testing.assert_frame_equal(measured.slices(), evaluated.slices())
    assert len(measured.plan_slices()) == 2 * len(evaluated.slices())
    assert all(abs(entry.sets["normal"].difference) < 0.01 for entry in accuracy.values())
    assert "normal dice" in done.stdout
    assert "measuring processes" not in fetalbench(*measure, "--batch", "1").stderr
    done = fetalbench("measure", "rfbsnet", *shared, "--results", "untrained")
    assert "not scored: these are starting weights" in done.stderr


@pytest.mark.slow  # waits for a limit: half a minute
def test_a_measurement_that_takes_too_long_keeps_what_was_measured(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    # The limit is for each measurement: the larger batch passes it, with what came before it kept.
    path = protocol(tmp_path, seconds=12)
    measure = ("measure", "rfbsnet", "--data", disc_data.folder, "--protocol", path)
    done = fetalbench(*measure, "--batch", "1,1024,2048", "--quantity", "forward")
    assert done.returncode == 1, done.stderr
    (measured,) = load_records(tmp_path / "measurements")
    statuses = {entry.batch: entry.status for entry in measured.record.latency}
    assert statuses == {1: "ok", 1024: "timeout", 2048: "timeout"}
    reasons = {entry.batch: entry.reason for entry in measured.record.latency}
    assert reasons[1024] == "took more than 12 s"
    assert reasons[2048] == "skipped_after_timeout: the process ended at forward, batch 1024."
    assert len(measured.latency_samples()) >= 64
    planned = fetalbench(*measure, "--batch", "1", "--quantity", "forward")
    assert planned.returncode == 1  # the failures of other batches stand in the same record


@pytest.mark.slow  # two runs on the same cores: a minute
def test_two_runs_at_once_do_each_cell_once(disc_data: Dataset, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "harness.cli", "run", "--data", str(disc_data.folder)]
    words += ["--protocol", str(protocol(tmp_path)), "--networks", "threshold,rfbsnet"]
    words += ["--backends", "numpy,torch"]
    both = [
        subprocess.Popen(
            words,
            cwd=tmp_path,
            env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]
    said = [process.communicate(timeout=200)[1] for process in both]
    assert "Traceback" not in "".join(said)
    found = records(tmp_path)
    assert {name: stored.record.status for name, stored in found.items()} == {
        "threshold": "ok",
        "rfbsnet": "ok",
    }
    for stored in found.values():
        assert len(stored.slices()) == 40
        assert len(stored.record.latency) == 1
        assert stored.latency_samples()["query"].is_unique
    done = subprocess.run(
        words,
        cwd=tmp_path,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "0 cells to do, 2 done" in done.stderr


def test_fewer_threads_than_cores_file_the_record_where_the_run_looks(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    path = protocol(tmp_path)
    path.write_text(path.read_text().replace("[measuring]", "[measuring]\nthreads = 1"))
    words = ("run", "--data", disc_data.folder, "--protocol", path, "--networks", "threshold")
    assert fetalbench(*words).returncode == 0
    assert "0 cells to do, 1 done" in fetalbench(*words).stderr


@pytest.mark.slow  # runs a cell three times
def test_a_damaged_record_is_mended_by_running_again(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    words = ("run", "--data", disc_data.folder, "--protocol", protocol(tmp_path))
    words += ("--networks", "threshold")
    assert fetalbench(*words).returncode == 0
    path = records(tmp_path)["threshold"].folder / "record.json"
    path.write_text(path.read_text()[:100])
    planned = json.loads(fetalbench("plan", *words[1:], "--json").stdout)
    assert planned[0]["state"] == "failed"
    done = fetalbench(*words)
    assert done.returncode == 0, done.stderr
    assert records(tmp_path)["threshold"].record.status == "ok"


def test_stream_keeps_every_response(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    words = ("stream", "threshold", "--backend", "numpy", "--data", disc_data.folder)
    words += ("--protocol", protocol(tmp_path), "--slices", "40", "--json")
    done = fetalbench(*words)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)
    keeps = "does not keep up" if row["missed"] else "keeps up"
    assert f"threshold × numpy (call) {keeps} with interactive, 30 ms a slice" in done.stderr
    (stored,) = load_records(tmp_path / "streams")
    (found,) = stored.record.streams
    responses = stored.stream_responses()
    undisturbed = responses[responses["replay"] == "undisturbed"]["response_ns"]
    assert len(undisturbed) == row["slices"] == 40
    assert row["missed"] == found.missed == (undisturbed > 1e6 * row["deadline_ms"]).sum()
    assert found.median_ms == pytest.approx(undisturbed.median() / 1e6)
    # From the start of the process: no interpreter starts in less.
    assert found.cold_start_ms > 100
    again = fetalbench(*words)
    assert again.returncode == 0, again.stderr
    (stored,) = load_records(tmp_path / "streams")
    assert len(stored.record.streams) == 1


@pytest.mark.parametrize(
    ("network", "backend"),
    [
        ("rfbsnet", "keras"),
        ("rfbsnet", "flax"),
        # A network with batch normalisation; XLA takes half a minute to compile it.
        pytest.param("fast_scnn", "keras", marks=pytest.mark.slow),
        pytest.param("fast_scnn", "flax", marks=pytest.mark.slow),
    ],
)
@pytest.mark.slow  # trains in three frameworks: most of a minute
def test_every_framework_trains_with_recalibrated_statistics(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path, network: str, backend: str
) -> None:
    path = protocol(tmp_path, epochs=1, training='batch_norm = "recalibrated"')
    shared = ("--data", disc_data.folder, "--protocol", path, "--backend", backend)
    done = fetalbench("train", network, "--out", "net.safetensors", *shared)
    assert done.returncode == 0, done.stderr
    weights = read_arrays(tmp_path / "net.safetensors")
    (stored,) = load_records(tmp_path / "net.records")
    assert stored.record.training is not None
    assert stored.record.training.weights_sha256 == digest(weights)
    variances = [value.min() for name, value in weights.items() if name.endswith(".variance")]
    assert bool(variances) == (network == "fast_scnn")
    # Five steps of momentum 0.99 alone would leave a variance of 0.95 and more.
    assert min(variances, default=0) < 0.9


def test_what_cannot_be_trained_says_why(fetalbench: Fetalbench, disc_data: Dataset) -> None:
    words = ("train", "--out", "net.safetensors", "--data", disc_data.folder)
    done = fetalbench(*words, "threshold", "--backend", "numpy")
    assert (done.returncode, "'threshold' has no weights to train" in done.stderr) == (2, True)
    done = fetalbench(*words, "threshold", "--backend", "torch")
    assert (done.returncode, "'threshold' is not implemented for 'torch'" in done.stderr) == (
        2,
        True,
    )
    done = fetalbench(*words, "rfbsnet", "--backend", "keras-jax")
    assert done.returncode == 1
    assert "rfbsnet × keras-jax is unsupported: Keras on JAX does not train" in done.stderr


def test_plan_and_list_are_strict_json(fetalbench: Fetalbench, disc_data: Dataset) -> None:
    listed = json.loads(fetalbench("list", "--json").stdout)
    assert {"network", "backend", "status"} <= set(listed[0])
    assert len([row for row in listed if row["backend"] != "numpy"]) >= 27
    planned = json.loads(fetalbench("plan", "--data", disc_data.folder, "--json").stdout)
    assert {row["state"] for row in planned} == {"to do"}
