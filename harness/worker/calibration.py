"""The slices on which a plan in 8-bit integers finds its ranges."""

from __future__ import annotations

from collections.abc import Sequence

from backends.contract import Array, Network
from backends.plans import Plan
from harness.data.preparation import prepare
from harness.worker.state import Worker

# (p.) More cost time and change the ranges little.
SLICES = 32


def calibrate(
    worker: Worker, network: Network, plans: Sequence[Plan], seed: int, images: Array
) -> str | None:
    """Give the network its calibration images if a plan needs them; returns a note on them.

    They are training slices, drawn with the seed; `images` of a data set without any, which are
    then those that are timed.
    """
    if not any(plan.precision == "int8" for plan in plans):
        return None
    dataset, chosen = worker.dataset, worker.job.protocol.input
    if "train" not in dataset.meta.sets:
        network.calibrate(images[:SLICES])
        return "plans in int8 were calibrated on the timed slices: there are no training slices."
    rows = dataset.rows("train")
    rows = rows.sample(min(SLICES, len(rows)), random_state=seed).sort_index()
    found, _ = prepare(dataset, rows, **chosen.model_dump(exclude={"classes"}))
    network.calibrate(found)
    return f"plans in int8 were calibrated on {len(rows)} training slices, drawn with seed {seed}."
