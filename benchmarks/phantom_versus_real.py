"""Intensity and shape statistics of prepared data sets side by side, as a Markdown table.

    python -m benchmarks.phantom_versus_real data/phantom-paper data/mialsrtk

Each figure is the median over slices with brain of the set `train`, with the 5th and 95th
percentile; intensities are relative to the median inside the brain mask.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from harness.data.catalogue import Dataset, open_dataset

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


def dataset_figures(dataset: Dataset) -> NDArray[np.float64]:
    """(slices with brain, figures)."""
    rows = dataset.rows("train")
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


def main(folders: list[str]) -> None:
    """Print the table for the data sets in `folders`."""
    datasets = [open_dataset(Path(folder)) for folder in folders]
    tables = [dataset_figures(dataset) for dataset in datasets]
    print("| | " + " | ".join(f"{dataset.meta.name}" for dataset in datasets) + " |")
    print("|---|" + "---|" * len(datasets))
    print("| slices | " + " | ".join(str(len(table)) for table in tables) + " |")
    for index, name in enumerate(FIGURES):
        cells = []
        for table in tables:
            low, middle, high = np.nanpercentile(table[:, index], (5, 50, 95))
            cells.append(f"{middle:.2f} ({low:.2f}–{high:.2f})")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main(sys.argv[1:])
