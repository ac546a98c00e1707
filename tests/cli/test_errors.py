"""A user's mistake: one sentence, the documented exit code, no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.catalogue import Dataset
from tests.conftest import Fetalbench

Words = Callable[[Path, Path], list[str]]

# (what is typed, given a data set and an empty folder; exit code; a part of the sentence)
MISTAKES: dict[str, tuple[Words, int, str]] = {
    "no such data": (lambda _d, _t: ["run", "--data", "nowhere"], 3, "nowhere: no such folder"),
    "no data set": (lambda _d, t: ["run", "--data", str(t)], 3, "no prepared data set"),
    "unknown network": (
        lambda d, _t: ["run", "--data", str(d), "--networks", "rfbnet"],
        2,
        "did you mean 'rfbsnet'",
    ),
    "unknown backend": (
        lambda d, _t: ["run", "--data", str(d), "--backends", "trch"],
        2,
        "did you mean 'torch'",
    ),
    "unknown protocol": (
        lambda d, _t: ["run", "--data", str(d), "--protocol", "tinny"],
        2,
        "did you mean 'tiny'",
    ),
    "unknown device": (
        lambda d, _t: ["run", "--data", str(d), "--device", "gpu"],
        2,
        "expected auto, cpu or cuda",
    ),
    "seeds": (lambda d, _t: ["plan", "--data", str(d), "--seeds", "a"], 2, "whole numbers"),
    "no results": (lambda _d, _t: ["report", "--results", "none"], 3, "no such results folder"),
    "nothing to compare": (lambda _d, _t: ["compare", "--results", "none"], 3, "no such results"),
    "side": (
        lambda d, _t: ["measure", "unet", "--data", str(d), "--size", "100x100"],
        2,
        "height 100 is not a multiple of 64",
    ),
    "size": (
        lambda d, _t: ["measure", "unet", "--data", str(d), "--size", "big"],
        2,
        "expected HEIGHTxWIDTH",
    ),
    "profile": (
        lambda d, _t: ["measure", "unet", "--data", str(d), "--profile", "fast"],
        2,
        "expected one of quick, publish, mlperf",
    ),
    "no weights": (
        lambda d, _t: ["evaluate", "unet", "--data", str(d)],
        2,
        "needs --weights",
    ),
    "weights name": (
        lambda d, _t: ["train", "unet", "--data", str(d), "--out", "x.pt"],
        2,
        "ends in .safetensors",
    ),
    "paper without GPU": (
        lambda d, _t: ["run", "--data", str(d), "--protocol", "paper"],
        4,
        "is meant for a GPU and none is visible here",
    ),
    "unknown option": (lambda _d, _t: ["run", "--dat", "x"], 2, "--dat"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    mistake: str, fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    words, code, sentence = MISTAKES[mistake]
    done = fetalbench(*words(disc_data.folder, tmp_path))
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr + done.stdout
    if done.stderr.startswith("fetalbench: "):
        assert len(done.stderr.strip().splitlines()) == 1


def test_weights_of_another_network_are_refused_by_name(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    save_file({"other.kernel": np.zeros((1,), np.float32)}, tmp_path / "w.safetensors")
    done = fetalbench(
        "evaluate", "rfbsnet", "--weights", "w.safetensors", "--data", disc_data.folder
    )
    assert done.returncode == 1
    assert "is missing; is it another network's?" in " ".join(done.stdout.split())


def test_results_of_a_newer_schema_are_refused(fetalbench: Fetalbench, tmp_path: Path) -> None:
    folder = tmp_path / "results" / "box" / "d" / "p" / "unet" / "torch" / "seed-0"
    folder.mkdir(parents=True)
    (folder / "record.json").write_text(json.dumps({"schema_version": 99}))
    done = fetalbench("report")
    assert done.returncode == 3
    assert "has schema version 99" in done.stderr
    assert "upgrade fetalbench" in done.stderr


def test_alone_it_prints_a_quick_start(fetalbench: Fetalbench) -> None:
    done = fetalbench()
    assert done.returncode == 0
    assert "fetalbench data phantom" in done.stdout


def test_doctor_and_version(fetalbench: Fetalbench) -> None:
    rows = json.loads(fetalbench("doctor", "--json").stdout)
    assert {"python", "memory", "disk", "gpu"} <= {row["what"] for row in rows}
    assert "fetalbench" in fetalbench("version").stdout
