"""Sim to real: train on the phantom alone, then segment real stacks that no training has seen.

    python -m benchmarks.sim_to_real data/mialsrtk data/e2mip [--brains FOLDER]

Each folder is a prepared data set of real stacks, all of whose slices are in the set `normal`
(`fetalbench data import SOURCE --out data/real --split sub-01=normal`). `--brains` is a folder of
label maps (docs/phantom.md). Everything is written below `build/sim_to_real`; the settings are
those of the protocol and the phantom preset `sim_to_real`.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd

from harness.data.phantom.atlas import find_label_maps
from harness.data.phantom.generation import make_phantom
from harness.data.phantom.presets import find_preset
from harness.records.store import load_records

NETWORK = "rfbsnet"
NAME = "sim_to_real"
SEED = 11


def fetalbench(*words: object) -> None:
    """Run a command as a user would. Raises `CalledProcessError`."""
    subprocess.run([sys.executable, "-m", "harness.cli", *map(str, words)], check=True)


def per_fetus(slices: pd.DataFrame) -> pd.DataFrame:
    """One row per subject: brain Dice in %, slices missed and false alarms.

    `slices` is a record's table of scores. Dice is the mean over the slices with brain.
    """
    brain = slices["brain_pixels"] > 0
    rows = []
    for subject, part in slices.groupby("subject"):
        dice = part.loc[brain[part.index], "dice"]
        rows.append(
            {
                "subject": subject,
                "with_brain": len(dice),
                "dice": 100 * dice.mean(),
                "median": 100 * dice.median(),
                "missed": int((part["case"] == "missed").sum()),
                "empty": len(part) - len(dice),
                "false_alarms": int((part["case"] == "false_alarm").sum()),
            }
        )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> str:
    """The figures that the docs quote, in one line."""
    missed = table["missed"].sum() / max(table["with_brain"].sum(), 1)
    alarms = table["false_alarms"].sum() / max(table["empty"].sum(), 1)
    return (
        f"mean over {len(table)} fetuses {table['dice'].mean():.1f} %, lowest "
        f"{table['dice'].min():.1f} %; missed {100 * missed:.1f} % of the slices with brain, "
        f"false alarms on {100 * alarms:.1f} % of those without"
    )


def train(out: Path, brains: Path | None) -> Path:
    """Make the phantom, train on it; returns the weights' file."""
    phantom, weights = out / "phantom", out / f"{NETWORK}.safetensors"
    start = time.monotonic()
    if not (phantom / "dataset.json").exists():
        maps = find_label_maps(brains) if brains else ()
        make_phantom(phantom, find_preset(NAME), seed=SEED, brains=maps)
    print(f"phantom: {time.monotonic() - start:.0f} s", flush=True)
    start = time.monotonic()
    fetalbench("train", NETWORK, "--data", phantom, "--out", weights, "--protocol", NAME)
    print(f"training: {time.monotonic() - start:.0f} s", flush=True)
    return weights


def evaluate(weights: Path, data: Path, results: Path) -> pd.DataFrame:
    """Scores per fetus of one data set."""
    words = ("--weights", weights, "--data", data, "--results", results)
    fetalbench("evaluate", NETWORK, *words, "--protocol", NAME)
    (stored,) = load_records(results)
    return per_fetus(stored.slices())


def main() -> None:
    """Train unless weights are given, and print the table per fetus."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("real", type=Path, nargs="+", help="prepared data sets of real stacks")
    parser.add_argument("--brains", type=Path, help="folder of label maps for the phantom")
    parser.add_argument("--weights", type=Path, help="do not train: score these")
    parser.add_argument("--out", type=Path, default=Path("build") / NAME)
    wanted = parser.parse_args()
    weights = wanted.weights or train(wanted.out, wanted.brains)
    tables = [
        evaluate(weights, data, wanted.out / f"evaluated-{index}")
        for index, data in enumerate(wanted.real)
    ]
    table = pd.concat(tables, ignore_index=True)
    print(table.round(1).to_string(index=False))
    print(summary(table))


if __name__ == "__main__":
    main()
