"""Seconds for all metrics of 1,000 slices of 256×256 on one core, beside MONAI's.

    OMP_NUM_THREADS=1 python -m benchmarks.metrics_speed [--slices 1000] [--without-monai]

Ours are Dice, IoU, the paper's two, NSD, HD95, precision and recall; MONAI's (oracle, not needed
by the harness) are Dice, IoU, NSD by the same definition (`use_subvoxels`) and HD95.
"""

from __future__ import annotations

import argparse
import time
import warnings

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from harness.metrics import score_slices

SIZE = 256
SPACING_MM = (1.0, 1.0)

Masks = NDArray[np.bool_]


def brains(count: int, seed: int = 0) -> tuple[Masks, Masks]:
    """References and predictions (n, 256, 256): ellipses of 60–120 pixels with ragged edges.

    One slice in ten has no brain, one prediction in ten is empty.
    """
    rng = np.random.default_rng(seed)
    y, x = np.ogrid[:SIZE, :SIZE]
    masks = np.zeros((2, count, SIZE, SIZE), dtype=bool)
    for index in range(count):
        centre = rng.uniform(90, 166, 2)
        radii = rng.uniform(30, 60, 2)
        for side in range(2):
            place, size = centre + rng.normal(0, 2, 2), radii * rng.normal(1, 0.05)
            distance = ((y - place[0]) / size[0]) ** 2 + ((x - place[1]) / size[1]) ** 2
            ragged = distance + rng.normal(0, 0.05, (SIZE, SIZE)) < 1
            masks[side, index] = ragged & (rng.random() > 0.1)
    return masks[0], masks[1]


def ours_seconds(references: Masks, predictions: Masks) -> float:
    count = len(references)
    rows = pd.DataFrame(
        {
            "set": "normal",
            "subject": "sub-01",
            "stack": "sub-01_run-1",
            "slice": range(count),
            "spacing_y_mm": SPACING_MM[0],
            "spacing_x_mm": SPACING_MM[1],
        }
    )
    start = time.perf_counter()
    score_slices(rows, list(references), list(predictions))
    return time.perf_counter() - start


def monai_seconds(references: Masks, predictions: Masks) -> float:
    import torch
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance
    from monai.metrics.meandice import compute_dice
    from monai.metrics.meaniou import compute_iou
    from monai.metrics.surface_dice import compute_surface_dice

    torch.set_num_threads(1)
    start = time.perf_counter()
    truth = torch.from_numpy(np.stack([~references, references], axis=1)).float()
    guess = torch.from_numpy(np.stack([~predictions, predictions], axis=1)).float()
    compute_dice(guess, truth)
    compute_iou(guess, truth)
    compute_surface_dice(guess, truth, [2.0], spacing=SPACING_MM, use_subvoxels=True)
    compute_hausdorff_distance(guess, truth, percentile=95, spacing=SPACING_MM)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slices", type=int, default=1000)
    parser.add_argument("--without-monai", action="store_true")
    options = parser.parse_args()
    references, predictions = brains(options.slices)
    print(f"fetalbench: {ours_seconds(references, predictions):.2f} s, {options.slices} slices")
    if not options.without_monai:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # MONAI warns of each empty mask
            monai_seconds(references[:2], predictions[:2])  # its imports are not timed
            seconds = monai_seconds(references, predictions)
        print(f"MONAI: {seconds:.2f} s, {options.slices} slices")


if __name__ == "__main__":
    main()
