"""Sim to real: train on the phantom alone, then segment real stacks that no training has seen.

    python -m benchmarks.sim_to_real data/real

`data/real` is a prepared data set of real stacks, all of whose slices are in the set `normal`
(`fetalbench data import SOURCE --out data/real --split sub-01=normal`). Everything is written below
`build/sim_to_real`; the settings are those of `sim_to_real.toml` beside this file.
"""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

from harness.data.catalogue import open_dataset
from harness.data.phantom.generation import make_phantom
from harness.data.phantom.presets import PRESETS, SetSize
from harness.records.store import load_records

NETWORK = "rfbsnet"
OUT = Path("build/sim_to_real")
PROTOCOL = Path(__file__).with_suffix(".toml")
# The `study` geometry, fewer subjects; `normal` only tells how well the phantom itself is learnt.
PRESET = replace(
    PRESETS["study"],
    name="sim-to-real",
    sets={
        "train": SetSize(subjects=40, stacks=80, slices=960),
        "normal": SetSize(subjects=8, stacks=16, slices=192),
    },
)


def fetalbench(*words: object) -> None:
    """Run a command as a user would. Raises `CalledProcessError`."""
    subprocess.run([sys.executable, "-m", "harness.cli", *map(str, words)], check=True)


def dice_of(results: Path) -> dict[str, float]:
    """Mean and median brain Dice over slices with brain of the one record in `results`."""
    (stored,) = load_records(results)
    slices = stored.slices()
    dice = slices.loc[slices["brain_pixels"] > 0, "dice"]
    return {"slices": len(dice), "mean": dice.mean(), "median": dice.median()}


def main(real: Path) -> None:
    """Make the phantom, train, evaluate on it and on the real stacks, and print both."""
    weights = OUT / f"{NETWORK}.safetensors"
    start = time.monotonic()
    if not (OUT / "phantom" / "dataset.json").exists():
        make_phantom(OUT / "phantom", PRESET, seed=11)
    print(f"phantom: {time.monotonic() - start:.0f} s", flush=True)
    common = ("--protocol", PROTOCOL)
    start = time.monotonic()
    fetalbench("train", NETWORK, "--data", OUT / "phantom", "--out", weights, *common)
    print(f"training: {time.monotonic() - start:.0f} s", flush=True)
    for name, data in (("phantom", OUT / "phantom"), ("real", real)):
        results = OUT / f"evaluated-{name}"
        words = ("--weights", weights, "--data", data, "--results", results)
        fetalbench("evaluate", NETWORK, *words, *common)
        found = dice_of(results)
        sets = open_dataset(data).meta.sets
        print(f"{name}: {found} ({sets['normal'].stacks} stacks)", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
