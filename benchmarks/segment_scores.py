"""The model card's figures: `fetalbench segment`, scored on stacks that have masks.

    python -m benchmarks.segment_scores path/to/bids another/folder [--weights FILE] [--worst F.png]

Reads the sources as `fetalbench data import` does (no import is needed), segments each stack as
`fetalbench segment` does, and prints a row per fetus, without and with `--largest-component`:
slices with brain, their mean and median Dice in %, how many were missed, slices without brain, and
how many of these show a false alarm; then what looking at the flagged slices would have found.
`--worst` draws the ten worst slices: the annotators' outline in green, the network's in orange.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from harness.data.cases import load_case
from harness.data.readers import detect_form, find_cases
from harness.data.writer import Stack
from harness.deploy import judging
from harness.deploy.segmenter import Segmenter

WORST, TILE = 10, 240
BAD_DICE = 0.7


def labelled_stacks(sources: Sequence[Path]) -> list[Stack]:
    """Every stack with a mask, in the order of the sources."""
    return [
        load_case(case, "normal")
        for source in sources
        for case in find_cases(source, detect_form(source))
        if not case.left_out and case.mask is not None
    ]


def scores(stack: Stack, masks: np.ndarray, way: str) -> pd.DataFrame:
    """A row per slice: whether it holds brain, whether any was marked, and the Dice in %."""
    truth, guess = stack.masks.astype(bool), masks.astype(bool)
    pixels, marked = truth.sum(axis=(1, 2)), guess.sum(axis=(1, 2))
    both = (truth & guess).sum(axis=(1, 2))
    dice = np.where(pixels + marked > 0, 2 * both / np.maximum(pixels + marked, 1), 1.0)
    return pd.DataFrame(
        {
            "way": way,
            "subject": stack.subject,
            "stack": stack.name,
            "slice": np.arange(len(truth)),
            "brain": pixels > 0,
            "marked": marked > 0,
            "dice": 100 * dice,
        }
    )


def per_fetus(slices: pd.DataFrame) -> pd.DataFrame:
    """One row per fetus."""
    rows = []
    for subject, part in slices.groupby("subject"):
        brain = part["brain"]
        rows.append(
            {
                "fetus": subject,
                "with_brain": int(brain.sum()),
                "dice": part.loc[brain, "dice"].mean(),
                "median": part.loc[brain, "dice"].median(),
                "missed": int((brain & ~part["marked"]).sum()),
                "without": int((~brain).sum()),
                "false_alarms": int((~brain & part["marked"]).sum()),
            }
        )
    return pd.DataFrame(rows)


def summary(table: pd.DataFrame) -> str:
    """The figures that the model card quotes, in one line."""
    missed = 100 * table["missed"].sum() / max(table["with_brain"].sum(), 1)
    alarms = 100 * table["false_alarms"].sum() / max(table["without"].sum(), 1)
    return (
        f"mean over {len(table)} fetuses {table['dice'].mean():.1f} %, lowest "
        f"{table['dice'].min():.1f} %; missed {missed:.1f} % of the slices with brain, "
        f"false alarms on {alarms:.1f} % of those without"
    )


def flagged(slices: pd.DataFrame) -> str:
    """How many slices are to be looked at, and how many of the bad ones are among them."""
    bad = (slices["dice"] < 100 * BAD_DICE) | (slices["brain"] != slices["marked"])
    return (
        f"to look at: {slices['look'].sum()} of {len(slices)} slices; among them "
        f"{(bad & slices['look']).sum()} of the {bad.sum()} that are wrong or below "
        f"{100 * BAD_DICE:.0f} %"
    )


def draw_worst(
    path: Path, stacks: dict[str, Stack], masks: dict[str, np.ndarray], table: pd.DataFrame
) -> None:
    """The worst slices with brain, and beside them the largest false alarms, as a PNG."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    chosen = table.sort_values("dice", kind="stable").head(WORST)
    figure = Figure(figsize=(12.5, 5.4), facecolor="#111")
    FigureCanvasAgg(figure)
    for place, row in enumerate(chosen.to_dict("records")):
        stack, index = stacks[str(row["stack"])], int(row["slice"])
        axes = figure.add_subplot(2, WORST // 2, place + 1)
        image = stack.images[index]
        aspect = stack.spacing_mm[0] / stack.spacing_mm[1]
        axes.imshow(image, cmap="gray", vmax=float(np.percentile(image, 99.5)), aspect=aspect)
        for mask, colour in (
            (stack.masks[index], "#50e060"),
            (masks[stack.name][index], "#ff5a36"),
        ):
            if mask.any():
                axes.contour(mask, levels=[0.5], colors=colour, linewidths=0.8)
        axes.set_axis_off()
        axes.set_title(f"{stack.name} #{index}: {row['dice']:.0f} %", fontsize=7, color="#ccc")
    figure.subplots_adjust(0.005, 0.005, 0.995, 0.95, 0.02, 0.08)
    figure.savefig(path, dpi=100, metadata={"Software": None})


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", type=Path, nargs="+", help="folders of labelled stacks")
    parser.add_argument("--weights", type=Path, help="default: the package's own")
    parser.add_argument("--worst", type=Path, help="draw the ten worst slices")
    wanted = parser.parse_args()
    segmenter = Segmenter(weights=wanted.weights)
    stacks = {stack.name: stack for stack in labelled_stacks(wanted.sources)}
    parts, masks = [], {}
    for name, stack in stacks.items():
        found = segmenter.stack(stack.images, stack.spacing_mm)
        masks[name] = found.masks
        look = [bool(why) for why in found.look]
        parts.append(scores(stack, found.masks, "as it is").assign(look=look))
        kept = judging.largest_component(found.masks)
        parts.append(scores(stack, kept, "largest component").assign(look=look))
    slices = pd.concat(parts, ignore_index=True)
    print(f"{segmenter.source}, {segmenter.sha256[:12]}")
    for way, part in slices.groupby("way", sort=False):
        table = per_fetus(part)
        print(
            f"\n{way}\n{table.round(1).to_string(index=False)}\n{summary(table)}\n{flagged(part)}"
        )
    if wanted.worst:
        draw_worst(wanted.worst, stacks, masks, slices[slices["way"] == "as it is"])


if __name__ == "__main__":
    main()
