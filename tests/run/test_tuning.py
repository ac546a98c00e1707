"""`fetalbench tune` on real trainings: interrupted, resumed, finished, and refused."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from harness.data.description import DatasetMeta, SetCounts
from harness.errors import DataError
from harness.protocol import load_protocol, parse_protocol
from harness.records.store import load_records
from harness.run import protocol_text, tuning
from tests.conftest import ROOT, Fetalbench

PROTOCOL = """
name = "short"
[input]
height = 64
width = 64
[training]
loss = "dice_ce"
learning_rate = 1e-3
epochs = 8
batch_norm = "recalibrated"
[networks.shuffleseg]
epochs = 3
decay = 0.8
"""


def test_rates_are_halved_while_epochs_double() -> None:
    assert tuning.rungs(8, 25) == [(8, 6), (4, 12), (2, 25)]
    assert tuning.rungs(3, 2) == [(3, 1), (2, 2)]
    assert tuning.rungs(2, 5) == [(2, 5)]


def test_a_trial_gives_every_network_the_same_budget() -> None:
    tables = {"networks": {"unet": {"epochs": 1, "learning_rate": 1e-2, "loss": "dice_ce"}}}
    given = parse_protocol({"name": "x", "training": {"weights_from": "torch"}} | tables, "x")
    trial = tuning.trial_protocol(given, 2e-3, 7)
    for network in ("unet", "enet"):
        settings = trial.training_of(network)
        assert (settings.learning_rate, settings.epochs) == (2e-3, 7)
        assert settings.weights_from == "own"
    assert trial.training_of("unet").loss == "dice_ce"


@pytest.mark.parametrize("name", ["tiny", "paper", "cpu_plans", "small_data", "sim_to_real"])
def test_a_protocol_written_as_text_is_the_same_protocol(name: str, tmp_path: Path) -> None:
    protocol = load_protocol(name)
    path = tmp_path / "p.toml"
    path.write_text(protocol_text.as_toml(protocol, {(): "one\ntwo"}), encoding="utf-8")
    assert load_protocol(str(path)) == protocol


def meta(**subjects: int) -> DatasetMeta:
    counts = {
        name: SetCounts(slices=9, slices_with_brain=9, stacks=n, subjects=n)
        for name, n in subjects.items()
    }
    return DatasetMeta(name="d", title="D", kind="bids", source="s", licence="l", sets=counts)


def test_without_a_validation_set_it_says_how_to_get_one() -> None:
    by_slice = parse_protocol({"name": "x", "training": {"validation_by": "slice"}}, "x")
    plain = parse_protocol({"name": "x"}, "x")
    tuning.require_validation(meta(train=2), plain, ["unet"])
    tuning.require_validation(meta(train=1, val=1), by_slice, ["unet"])
    for dataset, protocol in ((meta(train=1), plain), (meta(train=5), by_slice)):
        with pytest.raises(DataError, match=r"no validation set.*--split SUBJECTS=val") as caught:
            tuning.require_validation(dataset, protocol, ["unet"])
        assert caught.value.exit_code == 3
    with pytest.raises(DataError, match="no training set"):
        tuning.require_validation(meta(normal=3), plain, ["unet"])


@pytest.mark.slow  # a whole tuning, interrupted: more than a minute
def test_interrupted_and_resumed_it_chooses_and_then_has_nothing_to_do(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "short.toml").write_text(PROTOCOL)
    words = ["tune", "short.toml", "--out", "mine.toml", "--data", str(disc_data.folder)]
    words += ["--networks", "rfbsnet,shuffleseg", "--rates", "1e-7,1e-3,3e-3", "--epochs", "2"]
    process = subprocess.Popen(
        [sys.executable, "-m", "harness.cli", *words],
        cwd=tmp_path,
        env=dict(os.environ) | {"PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        text=True,
    )
    trials = tmp_path / "mine.trials"
    deadline = time.monotonic() + 200
    while not list(trials.glob("[!.]*/*/*/*/*/*/record.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert "fetalbench: interrupted" in said
    assert not (tmp_path / "mine.toml").exists()
    before = {one.folder: one.record.created_at for one in load_records(trials)}

    done = fetalbench(*words, timeout=900)
    assert done.returncode == 0, done.stderr
    after = {one.folder: one.record for one in load_records(trials)}
    assert before.items() <= {folder: one.created_at for folder, one in after.items()}.items()
    found = json.loads((tmp_path / "mine.tuning.json").read_text())
    tried = [(row["network"], row["epochs"]) for row in found["trials"]]
    for network in ("rfbsnet", "shuffleseg"):
        assert (tried.count((network, 1)), tried.count((network, 2))) == (3, 2)
        last = [row for row in found["trials"] if (row["network"], row["epochs"]) == (network, 2)]
        best = max(last, key=lambda row: row["best_validation_dice"] or -1)
        chosen = found["chosen"][network]
        assert chosen["learning_rate"] == best["learning_rate"] != 1e-7
        assert chosen["validation_dice"] == best["best_validation_dice"]
    assert {one.key.seed for one in after.values()} == {0}

    # The file is a protocol with its origin, and all else as it was.
    tuned, given = (
        load_protocol(str(tmp_path / "mine.toml")),
        load_protocol(str(tmp_path / "short.toml")),
    )
    assert tuned.name == "mine"
    rate = found["chosen"]["shuffleseg"]["learning_rate"]
    assert tuned.training_of("shuffleseg").model_dump() == given.training_of(
        "shuffleseg"
    ).model_dump() | {"learning_rate": rate}
    text = (tmp_path / "mine.toml").read_text()
    assert text.startswith("# Learning rates chosen by: fetalbench tune short.toml --out mine.toml")
    planned = fetalbench(
        "plan", "--data", disc_data.folder, "--protocol", "mine.toml", "--no-probe"
    )
    assert planned.returncode == 0, planned.stderr

    again = fetalbench(*words)
    assert again.returncode == 0, again.stderr
    assert "Nothing to do: mine.toml is tuned" in again.stdout
    assert {one.folder: one.record for one in load_records(trials)} == after
    assert (tmp_path / "mine.toml").read_text() == text


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["tuny", "--out", "x.toml"], 2, "unknown protocol 'tuny': did you mean 'tiny'"),
        (["tiny", "--out", "x.json"], 2, "ends in .toml"),
        (["tiny", "--out", "Mine.toml"], 2, "protocol name 'Mine' is not allowed"),
        (["tiny", "--out", "mine.toml"], 2, "is there and was not tuned"),
        (["tiny", "--out", "x.toml", "--rates", "1e-3"], 2, "two or more numbers"),
        (["tiny", "--out", "x.toml", "--rates", "low,high"], 2, "two or more numbers"),
        (["tiny", "--out", "x.toml", "--networks", "unit"], 2, "did you mean 'unet'"),
        (["tiny", "--out", "x.toml", "--networks", "threshold"], 2, "not implemented for 'torch'"),
        (["tiny", "--out", "x.toml", "--backend", "trch"], 2, "did you mean 'torch'"),
        (["small_data", "--out", "x.toml"], 3, "no validation set"),
        (["tiny"], 2, "--out"),
    ],
)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    words: list[str],
    code: int,
    sentence: str,
    fetalbench: Fetalbench,
    disc_data: Dataset,
    tmp_path: Path,
) -> None:
    (tmp_path / "mine.toml").write_text('name = "mine"\n')
    done = fetalbench("tune", *words, "--data", disc_data.folder)
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["mine.toml"]
