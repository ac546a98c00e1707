"""Columns that no record summarises: means over all slices, medians, and Dice of whole stacks."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from harness.leaderboard.board.columns import Value, absent, per_cent, rounded
from harness.metrics.aggregation import quartiles, volume_dice, with_brain

KEY = ["network", "backend", "set"]
STACK = [*KEY, "seed", "subject", "stack"]
# What `slices` must hold beside network, backend and seed.
COLUMNS = ["set", "subject", "stack", "brain_pixels", "predicted_pixels", "dice", "nsd", "hd95_mm"]

Found = Mapping[tuple[str, str, str], dict[str, Value]]


def slice_values(slices: pd.DataFrame) -> Found:
    """Values by (network, backend, set) and column: means over seeds.

    A seed without scores counts as the worst; a distance that a seed lacks has no worst value and
    makes the mean unknown.
    """
    columns = {"nsd", "hd95_mm"} & set(slices.columns)
    seeds = slices.assign(**{c: slices[c].fillna(0.0) for c in columns & {"nsd"}}).groupby(
        [*KEY, "seed"], sort=True
    )
    # `count` leaves out what is NaN, so that a mean with a gap is itself a gap.
    complete = {c: seeds[c].count() == seeds.size() for c in columns}
    means = {c: seeds[c].mean().where(complete[c]) for c in sorted(columns)}
    means["volume_dice"] = _of_stacks(slices)
    found: dict[tuple[str, str, str], dict[str, Value]] = {}
    for column, by_seed in means.items():
        for key, values in by_seed.groupby(KEY, sort=True):
            mean = None if values.isna().any() else float(values.mean())
            network, backend, set_name = map(str, key)
            own = found.setdefault((network, backend, set_name), {})
            if column == "hd95_mm":
                own["hd95_mm_all"] = rounded(mean, 1, none="a seed has no scores")
            else:
                own[column if column == "volume_dice" else "nsd_all"] = per_cent(mean)
    if "hd95_mm" in columns:
        for key, distances in with_brain(slices).groupby(KEY, sort=True)["hd95_mm"]:
            network, backend, set_name = map(str, key)
            found[network, backend, set_name]["hd95_mm_median"] = _median(distances)
    return found


def _median(distances: pd.Series) -> Value:
    """Median and quartiles over the slices of all seeds; absent if one has no distance."""
    if distances.isna().any():
        return absent("a seed has no scores, and a distance has no worst value to count for it")
    middle = quartiles(distances)
    span = f"{middle.low:.1f}–{middle.high:.1f}"
    return Value(
        number=middle.median,
        text=f"{middle.median:.1f}",
        note=f"a quarter of the slices lie below {middle.low:.1f} mm, one above {middle.high:.1f}",
        below=span,
    )


def _of_stacks(slices: pd.DataFrame) -> pd.Series:
    """Volume Dice by (network, backend, set, seed): stack → subject means."""
    known = slices.assign(
        dice=slices["dice"].fillna(0.0), predicted_pixels=slices["predicted_pixels"].fillna(0)
    )
    stacks = known.groupby(STACK, sort=True)
    numbered = volume_dice(known.assign(stack=stacks.ngroup()))
    by_stack = pd.Series(
        numbered.droplevel("subject").sort_index().to_numpy(), index=stacks.size().index
    )
    subjects = by_stack.groupby([*KEY, "seed", "subject"], sort=True).mean()
    return subjects.groupby([*KEY, "seed"], sort=True).mean()
