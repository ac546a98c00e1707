"""The phantom beside real stacks: a Markdown table, and the picture of docs/phantom.md.

    fetalbench data import SOURCE --out data/real --split sub-01=normal
    python -m benchmarks.phantom_versus_real data/real docs/phantom.png

`data/real` is a prepared data set of real stacks; every stack of it counts, whatever its set. The
phantom is made below `build/phantom_versus_real` (preset and seed below), its set `train` counts,
and a contact sheet of all its sets is written to the second argument, if there is one. Each figure
is the median over slices with brain, with the 5th and 95th percentile; intensities are relative to
the median inside the brain mask.
"""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

from harness.data.catalogue import Dataset, open_dataset
from harness.data.contact_sheet import write_sheet
from harness.data.phantom.generation import make_phantom
from harness.data.phantom.presets import PRESETS, SetSize

OUT = Path("build/phantom_versus_real")
# The `study` geometry, fewer subjects.
PRESET = replace(
    PRESETS["study"],
    name="comparison",
    sets={
        "train": SetSize(subjects=6, stacks=12, slices=96),
        "normal": SetSize(subjects=3, stacks=6, slices=48),
        "challenging": SetSize(subjects=4, stacks=8, slices=64),
    },
)
SEED = 7

# A slice with less brain has too few pixels for percentiles.
LEAST_PIXELS = 150
FIGURES = (
    "brain, 5th percentile",
    "brain, 25th percentile",
    "brain, 75th percentile",
    "fluid in the brain (95th percentile)",
    "rim within 5 mm of the mask, median",
    "elsewhere in the body, median",
    "brightest in the slice (99th percentile)",
    "air, share of the slice",
    "noise in the brain",
    "brain area, cm²",
)


def slice_figures(
    image: NDArray[np.float32], mask: NDArray[np.uint8], spacing_mm: float
) -> list[float]:
    """The figures above of one slice."""
    brain = mask == 1
    middle = float(np.median(image[brain]))
    relative = image / max(middle, 1e-6)
    reach = max(1, round(5 / spacing_mm))
    rim = ndimage.binary_dilation(brain, iterations=reach) & ~brain
    air = relative < 0.06
    body = ~ndimage.binary_dilation(brain, iterations=3 * reach) & ~air
    # A pixel against the mean of its two neighbours sees noise and fine detail, not slow shading;
    # white noise of unit deviation gives √1.5.
    rough = relative[:, 1:-1] - 0.5 * (relative[:, :-2] + relative[:, 2:])
    inner = ndimage.binary_erosion(brain, iterations=2)[:, 1:-1]
    noise = 1.4826 * np.median(np.abs(rough[inner])) / np.sqrt(1.5) if inner.any() else np.nan
    return [
        *np.percentile(relative[brain], (5, 25, 75, 95)),
        float(np.median(relative[rim])) if rim.any() else np.nan,
        float(np.median(relative[body])) if body.any() else np.nan,
        float(np.percentile(relative, 99)),
        float(air.mean()),
        float(noise),
        float(brain.sum()) * spacing_mm**2 / 100,
    ]


def dataset_figures(dataset: Dataset, rows: pd.DataFrame) -> NDArray[np.float64]:
    """(slices with brain, figures) of some rows of a data set."""
    rows = rows.loc[rows["brain_pixels"] >= LEAST_PIXELS]
    return np.array(
        [
            slice_figures(
                np.asarray(dataset.images(row["stack"])[row["slice"]]),
                np.asarray(dataset.masks(row["stack"])[row["slice"]]),
                float(row["spacing_y_mm"]),
            )
            for row in rows.to_dict("records")
        ]
    )


def print_table(columns: dict[str, NDArray[np.float64]]) -> None:
    """Medians with percentiles, one column a data set."""
    print("| | " + " | ".join(columns) + " |")
    print("|---|" + "---|" * len(columns))
    print("| slices | " + " | ".join(str(len(table)) for table in columns.values()) + " |")
    for index, name in enumerate(FIGURES):
        cells = []
        for table in columns.values():
            low, middle, high = np.nanpercentile(table[:, index], (5, 50, 95))
            cells.append(f"{middle:.2f} ({low:.2f}–{high:.2f})")
        print(f"| {name} | " + " | ".join(cells) + " |")


def draw(dataset: Dataset, picture: Path) -> None:
    """A contact sheet in 128 colours, spread so that the red of the outlines is among them."""
    sheet = OUT / "sheet.png"
    write_sheet(dataset, sheet, slices=16, seed=0)
    colours = Image.open(sheet).convert("RGB").quantize(128, Image.Quantize.MAXCOVERAGE)
    colours.save(picture, optimize=True)


def main(real: Path, picture: Path | None) -> None:
    """Make the phantom where it is not there yet, print the table, draw the picture."""
    if not (OUT / "phantom" / "dataset.json").exists():
        make_phantom(OUT / "phantom", PRESET, seed=SEED)
    phantom, stacks = open_dataset(OUT / "phantom"), open_dataset(real)
    print_table(
        {
            "phantom": dataset_figures(phantom, phantom.rows("train")),
            stacks.meta.name: dataset_figures(stacks, stacks.slices),
        }
    )
    if picture:
        draw(phantom, picture)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None)
