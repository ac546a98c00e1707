"""The images behind the page's overlays, kept once per data set and protocol."""

from __future__ import annotations

import numpy as np
import pandas as pd

from harness.data.catalogue import Dataset
from harness.protocol import Protocol

# What the committed results may grow by for one data set.
LIMIT_BYTES = 6_000_000
SEED = 20220101


def gallery(dataset: Dataset, protocol: Protocol) -> pd.DataFrame:
    """set, subject, stack, slice, height, width, image (uint8 bytes), mask (packed bits).

    All test slices with brain if they are few; else an equal seeded sample of each set.
    """
    names = [name for name in protocol.evaluation.sets if name in dataset.meta.sets]
    sets = [dataset.rows(name) for name in names]
    chosen = []
    for rows in sets:
        rows = rows[rows["brain_pixels"] > 0]
        if rows.empty:
            continue
        each = int((rows["height"] * rows["width"]).max())
        most = max(8, LIMIT_BYTES // len(sets) // each)
        if len(rows) > most:
            rows = rows.sample(most, random_state=SEED).sort_index()
        chosen.append(rows)
    columns = ["set", "subject", "stack", "slice", "height", "width"]
    if not chosen:
        return pd.DataFrame(columns=[*columns, "image", "mask"])
    table = pd.concat(chosen)[columns].reset_index(drop=True)
    images, masks = [], []
    for row in table.itertuples():
        image = np.asarray(dataset.images(str(row.stack))[row.slice])
        low, high = np.percentile(image, (1, 99))
        scaled = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
        images.append((255 * scaled).astype(np.uint8).tobytes())
        masks.append(np.packbits(dataset.masks(str(row.stack))[row.slice] > 0).tobytes())
    return table.assign(image=images, mask=masks)
