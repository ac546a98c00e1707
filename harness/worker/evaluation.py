"""Evaluation: every slice of a test set is segmented, mapped back and scored on its own grid."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from backends.contract import Array, Network
from harness.data.catalogue import Dataset
from harness.data.fitting import step_of, unfit
from harness.data.preparation import prepare
from harness.errors import DataError
from harness.metrics import score_slices, summarise
from harness.protocol import Input, Protocol
from harness.records.schema import SetScores
from harness.worker.masks import arg_max_masks


@dataclass(kw_only=True)
class Evaluated:
    """Scores slice by slice, the masks behind them, and their means by set."""

    slices: pd.DataFrame
    predictions: pd.DataFrame
    scores: dict[str, SetScores] = field(default_factory=dict)


def evaluate(
    network: Network,
    dataset: Dataset,
    protocol: Protocol,
    pulse: Callable[[], None] = lambda: None,
) -> Evaluated:
    """Segment and score the protocol's test sets, with a call of `pulse` after each batch.

    Raises `DataError` if the data has none.
    """
    scored, kept = [], []
    for name in protocol.evaluation.sets:
        if name not in dataset.meta.sets:
            continue
        rows = dataset.rows(name)
        masks = _predict(network, dataset, rows, protocol, pulse)
        scores = score_slices(
            rows, references(dataset, rows), masks, protocol.evaluation.nsd_tolerance_mm
        )
        # How strongly a phantom's slice was harmed, for curves of robustness.
        harm = rows.filter(regex="^strength_").reset_index(drop=True)
        scored.append(pd.concat([scores, harm], axis=1))
        table = rows[["set", "stack", "slice", "height", "width"]]
        kept.append(table.assign(mask=[np.packbits(mask).tobytes() for mask in masks]))
    if not scored:
        raise DataError(
            f"data set {dataset.meta.name!r} has no slice in any of {protocol.evaluation.sets}: "
            "import it again with --split ...=normal."
        )
    slices = pd.concat(scored, ignore_index=True)
    return Evaluated(
        slices=slices,
        predictions=pd.concat(kept, ignore_index=True),
        scores={str(name): summarise(part) for name, part in slices.groupby("set", sort=False)},
    )


def references(dataset: Dataset, rows: pd.DataFrame) -> Iterator[Array]:
    """The reference masks (h, w) on the original grid, in the order of the rows."""
    places = zip(rows["stack"].astype(str), rows["slice"].astype(int), strict=True)
    return (dataset.masks(stack)[index] for stack, index in places)


def _predict(
    network: Network,
    dataset: Dataset,
    rows: pd.DataFrame,
    protocol: Protocol,
    pulse: Callable[[], None],
) -> list[Array]:
    """Boolean masks on the original grid, in the order of the rows."""
    chosen = protocol.input
    images, _ = prepare(
        dataset,
        rows,
        height=chosen.height,
        width=chosen.width,
        fit=chosen.fit,
        normalisation=chosen.normalisation,
        pixel_mm=chosen.pixel_mm,
    )
    # In float64: rounding must not decide what a network is worth.
    masks = arg_max_masks(
        network.exact(), images, protocol.evaluation.batch_size, network.classes, pulse
    )
    return on_original_grid(masks, rows, chosen)


def on_original_grid(masks: Array, rows: pd.DataFrame, chosen: Input) -> list[Array]:
    """Boolean brain masks (h, w) of each row on its own grid, from (n, h, w) of the network's."""
    # A user's network may have classes beyond the brain's; the brain is class 1.
    brain = (masks == 1).astype(np.uint8)
    sizes = zip(rows["height"].astype(int), rows["width"].astype(int), strict=True)
    spacings = zip(rows["spacing_y_mm"], rows["spacing_x_mm"], strict=True)
    return [
        unfit(mask[None], height, width, chosen.fit, step_of(chosen.fit, spacing, chosen.pixel_mm))[
            0
        ].astype(bool)
        for mask, (height, width), spacing in zip(brain, sizes, spacings, strict=True)
    ]
