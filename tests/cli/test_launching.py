"""`run --launch`, `status` and `collect` as a user calls them, without a cluster."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from harness.cli import launching
from harness.data.catalogue import Dataset
from harness.errors import UsageError
from harness.protocol import parse_protocol
from harness.records.store import load_records
from tests.conftest import ROOT, Fetalbench

PROTOCOL = """
name = "short"
[input]
height = 64
width = 64
[measuring]
quantities = ["end_to_end"]
"""


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("1:30:00", 90), ("90:30", 91), ("2-12", 3600), ("1-0:30", 1470), ("0:20", 1),
     ("1-02:03:04", 1564)],
)  # fmt: skip
def test_times_are_those_of_slurm(text: str, minutes: int) -> None:
    assert launching.minutes(text) == minutes


@pytest.mark.parametrize("text", ["", "1h", "1:2:3:4", "-5"])
def test_other_times_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--time"):
        launching.minutes(text)


def test_options_of_sbatch_are_passed_on() -> None:
    assert launching.pairs(["account=a", "--mail-type=END"]) == {"account": "a", "mail-type": "END"}
    for wrong in ("account", "=x", "a b=c", "x;y=1"):
        with pytest.raises(UsageError, match="--slurm"):
            launching.pairs([wrong])


def test_the_node_has_the_gpu_and_not_this_machine() -> None:
    plain = parse_protocol({"name": "x"}, "x")
    big = parse_protocol({"name": "x", "limits": {"requires_gpu": True}}, "x")
    assert launching.choose_device("auto", 1, big) == "cuda"
    assert launching.choose_device("auto", 0, plain) == "cpu"
    assert launching.choose_device("cpu", 0, big) == "cpu"
    assert launching.choose_device("cuda", 0, plain) == "cuda"
    with pytest.raises(UsageError, match="--gpus 1"):
        launching.choose_device("auto", 0, big)
    with pytest.raises(UsageError, match="contradict"):
        launching.choose_device("cpu", 1, plain)


@pytest.mark.slow  # a run for each line
def test_printed_commands_do_the_run(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    (tmp_path / "short.toml").write_text(PROTOCOL)
    words = ("run", "--data", disc_data.folder, "--protocol", "short.toml", "--networks")
    words = (*words, "threshold", "--seeds", "0,1", "--launch", "print")
    printed = fetalbench(*words)
    assert printed.returncode == 0, printed.stderr
    lines = printed.stdout.splitlines()
    assert len(lines) == 2
    assert "2 cells to do. Lines of seed 0 measure" in printed.stderr
    assert not (tmp_path / "results").exists()
    environment = dict(os.environ) | {"PYTHONPATH": str(ROOT)}
    for line in lines:
        # From anywhere: each line goes to its folder by itself.
        done = subprocess.run(
            line, shell=True, cwd="/", env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
    records = [stored.record for stored in load_records(tmp_path / "results")]
    assert {(r.key.seed, r.status, bool(r.latency)) for r in records} == {
        (0, "ok", True),
        (1, "ok", False),
    }
    again = fetalbench(*words)
    assert (again.stdout, again.returncode) == ("", 0)
    # Nothing of this was launched, so there is nothing to ask a scheduler for.
    assert fetalbench("status").returncode == 2
    assert "nothing was launched" in fetalbench("collect").stderr


def test_without_slurm_a_sentence_says_so(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "short.toml").write_text(PROTOCOL)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    words = ("run", "--data", disc_data.folder, "--protocol", "short.toml", "--networks")
    done = fetalbench(*words, "threshold", "--launch", "slurm")
    assert done.returncode == 4
    assert "Traceback" not in done.stderr
    assert "Slurm does not answer" in done.stderr or "needs submitit" in done.stderr
    refused = fetalbench(*words, "threshold", "--launch", "slurm", "--stages", "train,evaluate")
    assert refused.returncode == 2
    assert "--stages is for a run on this machine" in refused.stderr
