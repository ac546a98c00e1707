"""A user's mistake: one sentence, the documented exit code, no traceback."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from harness.data.catalogue import Dataset
from harness.jobs.environment import gpu_present
from tests.conftest import Fetalbench
from tests.data.nifti_files import bids, brain, save, voxels

Words = Callable[[Path, Path], list[str]]

IMAGE = "sub-01/anat/sub-01_run-1_T2w.nii.gz"
MASK = "derivatives/manual/sub-01/anat/sub-01_run-1_desc-brain_mask.nii.gz"


def importing(spoil: Callable[[Path], object]) -> Words:
    """Importing two stacks with masks, after `spoil` was let at their folder."""

    def words(_data: Path, folder: Path) -> list[str]:
        source = bids(folder / "raw", subjects=2, runs=1)
        spoil(source)
        split = ["--split", "sub-01=train", "--split", "sub-02=normal"]
        return ["data", "import", str(source), "--out", str(folder / "set"), *split]

    return words


def with_nan(shape: np.ndarray) -> np.ndarray:
    values = shape.astype(np.float32)
    values[0, 0, 0] = np.nan
    return values


def protocol(text: str) -> Words:
    """Planning with a protocol of one's own."""

    def words(data: Path, folder: Path) -> list[str]:
        path = folder / "mine.toml"
        path.write_text(f'name = "mine"\n{text}\n', encoding="utf-8")
        return ["plan", "--data", str(data), "--protocol", str(path)]

    return words


def changed_data(data: Path, folder: Path) -> list[str]:
    """Running on a data set of which one mask was edited by hand."""
    shutil.copytree(data, folder / "edited")
    path = sorted((folder / "edited/stacks").glob("*.masks.npy"))[0]
    masks = np.load(path)
    masks[0, 0, 0] ^= 1
    np.save(path, masks)
    return ["run", "--data", str(folder / "edited")]


def weights(command: str, content: bytes | None) -> Words:
    """A command given a weights file of that content, or none at all."""

    def words(data: Path, folder: Path) -> list[str]:
        path = folder / "net.safetensors"
        if content is not None:
            path.write_bytes(content)
        return [command, "unet", "--weights", str(path), "--data", str(data)]

    return words


# (what is typed, given a data set and an empty folder; exit code; a part of the sentence)
MISTAKES: dict[str, tuple[Words, int, str]] = {
    "no such data": (lambda _d, _t: ["run", "--data", "nowhere"], 3, "nowhere: no such folder"),
    "no data set": (lambda _d, t: ["run", "--data", str(t)], 3, "no prepared data set"),
    "changed data": (changed_data, 3, "its content does not match the hash in dataset.json"),
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
        "'gpu' is not one of 'auto', 'cpu', 'cuda'",
    ),
    "import: no such folder": (
        lambda _d, t: ["data", "import", "nowhere", "--out", str(t / "set")],
        3,
        "nowhere: no such folder",
    ),
    "import: stack without mask": (
        importing(lambda raw: (raw / MASK).unlink()),
        3,
        f"{IMAGE}: has no brain mask; add one or take the stack out.",
    ),
    "import: mask of another shape": (
        importing(lambda raw: save(raw / MASK, brain((5, 5, 5)))),
        3,
        f"{MASK}: its shape is (5, 5, 5), the image's (12, 10, 4)",
    ),
    "import: mask with other values": (
        importing(lambda raw: save(raw / MASK, 7 * brain())),
        3,
        f"{MASK}: is no binary mask, it holds 7; save brain as 1",
    ),
    "import: NaN in the image": (
        importing(lambda raw: save(raw / IMAGE, with_nan(voxels()))),
        3,
        f"{IMAGE}: holds NaN or infinite values",
    ),
    "import: NaN in the mask": (
        importing(lambda raw: save(raw / MASK, with_nan(brain()))),
        3,
        MASK,
    ),
    "import: not a NIfTI file": (
        importing(lambda raw: (raw / IMAGE).write_bytes(b"no NIfTI file")),
        3,
        IMAGE,
    ),
    "protocol: side": (protocol("[input]\nwidth = 100"), 2, "width 100 is not a multiple of 64"),
    "protocol: height": (protocol("[input]\nheight = 64000000"), 2, "less than or equal to 4096"),
    "protocol: batch": (protocol("[measuring]\nbatches = [1000000000]"), 2, "equal to 65536"),
    "protocol: seed": (protocol(f"[grid]\nseeds = [{2**40}]"), 2, "equal to 4294967295"),
    "protocol: nested": (protocol("x = " + "[" * 5000 + "]" * 5000), 2, "nested too deeply"),
    "huge seeds": (
        lambda d, _t: ["plan", "--data", str(d), "--seeds", str(2**70)],
        2,
        "largest is",
    ),
    "not UTF-8": (lambda _d, t: ["report", "--results", f"{t}/\udcff"], 2, "the name is not UTF-8"),
    "protocol: network": (protocol("[networks.rfbnet]"), 2, "did you mean 'rfbsnet'?"),
    "protocol: key": (
        protocol("[training]\nepoch = 3"),
        2,
        "unknown key 'training.epoch': did you mean 'epochs'?",
    ),
    "protocol: augmentation": (
        protocol('[training]\naugmentation = "bsic"'),
        2,
        "training.augmentation: input should be 'none', 'basic', 'strong' or 'domain' (got 'bsic')",
    ),
    "protocol: plan": (
        protocol('[measuring.plans]\ntorch = ["egaer"]'),
        2,
        "did you mean 'eager'?",
    ),
    "measure: plan": (
        lambda d, _t: ["measure", "unet", "--data", str(d), "--plan", "egaer"],
        2,
        "did you mean 'eager'?",
    ),
    "measure: batch": (
        lambda d, _t: ["measure", "unet", "--data", str(d), "--batch", "0"],
        2,
        "measuring.batches.0: input should be greater than or equal to 1",
    ),
    "evaluate: no such weights": (weights("evaluate", None), 3, "no such file; train first"),
    "evaluate: no weights file": (weights("evaluate", b"x"), 3, "not a safetensors file"),
    "measure: no such weights": (weights("measure", None), 3, "no such file; train first"),
    "train: no implementation": (
        lambda d, _t: ["train", "threshold", "--data", str(d), "--out", "x.safetensors"],
        2,
        "network 'threshold' is not implemented for 'torch'",
    ),
    "measure: no implementation": (
        lambda d, _t: ["measure", "threshold", "--data", str(d)],
        2,
        "network 'threshold' is not implemented for 'torch'",
    ),
    "evaluate: no implementation": (
        lambda d, _t: ["evaluate", "unet", "--backend", "numpy", "--data", str(d)],
        2,
        "network 'unet' is not implemented for 'numpy'",
    ),
    "stream: plan": (
        lambda d, _t: ["stream", "unet", "--data", str(d), "--plan", "egaer"],
        2,
        "unknown plan 'egaer': did you mean 'eager'?",
    ),
    "stream: no implementation": (
        lambda d, _t: ["stream", "threshold", "--data", str(d)],
        2,
        "network 'threshold' is not implemented for 'torch'",
    ),
    "protocols: unknown": (lambda _d, _t: ["protocols", "papper"], 2, "did you mean 'paper'?"),
    "no GPU": (lambda _d, _t: ["doctor", "--gpu"], 4, "no GPU is visible here"),
    "negative seeds": (lambda d, _t: ["plan", "--data", str(d), "--seeds=-1"], 2, "whole numbers"),
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
        "'fast' is not one of 'quick', 'publish', 'mlperf'",
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


NEED_A_MACHINE_WITHOUT_GPU = ("paper without GPU", "no GPU")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence_and_its_exit_code(
    mistake: str, fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
    if mistake in NEED_A_MACHINE_WITHOUT_GPU and gpu_present():
        pytest.skip("this machine has a GPU, so there is nothing to refuse")
    words, code, sentence = MISTAKES[mistake]
    done = fetalbench(*words(disc_data.folder, tmp_path))
    assert done.returncode == code, done.stderr
    assert sentence in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr + done.stdout
    if done.stderr.startswith("fetalbench: "):
        assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "set").exists()


def test_weights_of_another_network_are_refused_by_name(
    fetalbench: Fetalbench, disc_data: Dataset, tmp_path: Path
) -> None:
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


def test_a_gpu_that_no_framework_sees_is_exit_code_4_and_one_sentence(
    fetalbench: Fetalbench,
    disc_data: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Only the device file is made up: the frameworks look for themselves, and find none.
    (tmp_path / "nvidia0").touch()
    monkeypatch.setenv("FETALBENCH_GPU_FILES", str(tmp_path / "nvidia*"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    words = ("run", "--data", disc_data.folder, "--protocol", "paper", "--networks", "dfanet")
    done = fetalbench(*words, "--seeds", "0")
    assert done.returncode == 4, done.stderr
    (sentence,) = [line for line in done.stderr.splitlines() if line.startswith("fetalbench: ")]
    assert "3 cells were not run" in sentence
    for framework in ("PyTorch", "TensorFlow", "JAX"):
        assert f"{framework} sees no cuda device" in sentence
    assert "Traceback" not in done.stderr
    records = [json.loads(p.read_text()) for p in tmp_path.glob("results/**/record.json")]
    assert [record["status"] for record in records] == ["unsupported"] * 3
    assert not any(record["latency"] for record in records)
    # Filed apart from what this machine's processor computes.
    assert {record["provenance"]["machine"]["name"] for record in records} == {
        path.name for path in (tmp_path / "results").iterdir() if path.name != ".work"
    }
    assert all(record["provenance"]["machine"]["gpu"] for record in records)


def test_doctor_starts_every_backend_on_the_device(
    fetalbench: Fetalbench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "nvidia0").touch()
    monkeypatch.setenv("FETALBENCH_GPU_FILES", str(tmp_path / "nvidia*"))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    done = fetalbench("doctor", "--gpu", "--backends", "torch,jax")
    assert done.returncode == 4
    (sentence,) = done.stderr.strip().splitlines()
    assert "torch: PyTorch sees no cuda device" in sentence
    assert "flax: JAX sees no cuda device" in sentence
    assert "keras" not in sentence
