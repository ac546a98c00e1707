"""The paper's Fig. 3, redone: reference and predicted outlines on slices of the test sets.

Every network shows the same slices: those whose mean Dice over all networks is the median and the
lowest, and the one that the networks disagree on most.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from harness.errors import RecordError
from harness.leaderboard.board.boards import Board
from harness.leaderboard.board.seed_groups import SeedGroup
from harness.leaderboard.board.titles import SET_TITLES, SETS, backend_title
from harness.records.store import PREDICTIONS

KEY = ["set", "stack", "slice"]
KINDS = {"median": "Median slice", "worst": "Worst slice", "disputed": "Most disagreed on"}
MARGIN = 0.35  # of the brain's height and width, shown around it
LEAST_SIDE = 48


@dataclass(frozen=True, kw_only=True)
class Panel:
    """A network's outline on one slice; `path` is SVG path data in pixels of the window."""

    path: str
    caption: str


@dataclass(frozen=True, kw_only=True)
class ShownSlice:
    """A slice of the gallery, cut to a window around the brain."""

    id: str
    title: str
    where: str
    width: int
    height: int
    png: str
    reference: str


@dataclass(frozen=True, kw_only=True)
class OverlayRow:
    """One network: a panel for each slice shown, None if it has no prediction of that slice."""

    network: str
    title: str
    backend: str
    backend_title: str
    panels: tuple[Panel | None, ...]


@dataclass(frozen=True, kw_only=True)
class Overlays:
    """The slices (columns) and the networks (rows) of the gallery."""

    slices: tuple[ShownSlice, ...]
    rows: tuple[OverlayRow, ...]


def overlays(board: Board) -> Overlays | None:
    """The gallery of a board; None if no record has predictions of gallery slices."""
    groups = _one_backend_each(board)
    if board.gallery is None or not groups:
        return None
    scores = pd.concat(
        [_scores(group).assign(network=group.network) for group in groups], ignore_index=True
    )
    gallery = board.gallery.set_index(KEY).sort_index()
    keys = [
        (kind, key)
        for set_name in SETS
        for kind, key in _choose(scores[scores["set"] == set_name], gallery.index)
    ]
    windows = [_window(gallery.loc[key]) for _, key in keys]
    shown = tuple(
        _shown(f"{board.id}-slice-{i}", kind, key, gallery.loc[key], window)
        for i, ((kind, key), window) in enumerate(zip(keys, windows, strict=True))
    )
    rows = tuple(_row(group, [key for _, key in keys], windows) for group in groups)
    return Overlays(slices=shown, rows=rows) if shown else None


def _one_backend_each(board: Board) -> list[SeedGroup]:
    """The first backend in which each network has predictions, best network first."""
    found: dict[str, SeedGroup] = {}
    for group in board.seed_groups:
        if group.scored and PREDICTIONS in group.scored[0].record.files:
            found.setdefault(group.network, group)
    order = dict.fromkeys(row.network for row in board.rows)
    return [found[network] for network in order if network in found]


def _scores(group: SeedGroup) -> pd.DataFrame:
    return group.scored[0].slices()[[*KEY, "dice", "brain_pixels"]]


def _choose(scores: pd.DataFrame, available: pd.Index) -> list[tuple[str, tuple]]:
    """Keys of the median, worst and most disputed slices with brain in the gallery."""
    brain = scores[scores["brain_pixels"] > 0]
    table = brain.groupby(KEY)["dice"].agg(["mean", "std"]).fillna(0)
    table = table[table.index.isin(available)]
    if table.empty:
        return []
    ranked = table.sort_values("mean", kind="stable")
    chosen = {"median": ranked.index[len(ranked) // 2]}
    for kind, order in (("worst", ranked.index), ("disputed", _most_disputed(table))):
        rest = [key for key in order if key not in chosen.values()]
        if rest:
            chosen[kind] = rest[0]
    return list(chosen.items())


def _most_disputed(table: pd.DataFrame) -> pd.Index:
    return table.sort_values("std", ascending=False, kind="stable").index


def _mask(row: pd.Series) -> np.ndarray:
    height, width = int(row["height"]), int(row["width"])
    bits = np.unpackbits(np.frombuffer(row["mask"], np.uint8), count=height * width)
    return bits.reshape(height, width).astype(bool)


def _window(row: pd.Series) -> tuple[slice, slice]:
    """A square of rows and columns around the reference brain, with a margin."""
    mask = _mask(row)
    found = [np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0)]
    length = max(places[-1] + 1 - places[0] for places in found)
    side = min(*mask.shape, max(LEAST_SIDE, int(length * (1 + 2 * MARGIN))))
    spans = []
    for places, size in zip(found, mask.shape, strict=True):
        start = int(np.clip((places[0] + places[-1] + 1 - side) // 2, 0, size - side))
        spans.append(slice(start, start + side))
    return spans[0], spans[1]


def _shown(
    identity: str, kind: str, key: tuple, row: pd.Series, window: tuple[slice, slice]
) -> ShownSlice:
    set_name, stack, index = key
    shape = int(row["height"]), int(row["width"])
    if len(row["image"]) != shape[0] * shape[1]:
        raise RecordError(f"gallery.parquet: slice {index} of {stack} is not {shape}; run again.")
    image = np.frombuffer(row["image"], np.uint8).reshape(shape)[window]
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return ShownSlice(
        id=identity,
        title=f"{SET_TITLES[set_name]}: {KINDS[kind].lower()}",
        where=f"{stack}, slice {index}",
        width=image.shape[1],
        height=image.shape[0],
        png=base64.b64encode(buffer.getvalue()).decode(),
        reference=outline(_mask(row)[window]),
    )


def _row(group: SeedGroup, keys: list[tuple], windows: list[tuple[slice, slice]]) -> OverlayRow:
    predictions = group.scored[0].predictions().set_index(KEY)
    dice = _scores(group).set_index(KEY)["dice"]
    panels: list[Panel | None] = []
    for key, window in zip(keys, windows, strict=True):
        if key not in predictions.index:
            panels.append(None)
            continue
        mask = _mask(predictions.loc[key])
        beyond = int(mask.sum() - mask[window].sum())
        noun = "pixel" if beyond == 1 else "pixels"
        note = f", {beyond} {noun} beyond the window" if beyond else ""
        text = f"Dice {100 * dice.loc[key]:.1f} %" if mask.any() else "missed"
        panels.append(Panel(path=outline(mask[window]), caption=text + note))
    return OverlayRow(
        network=group.network,
        title=group.title,
        backend=group.backend,
        backend_title=backend_title(group.backend),
        panels=tuple(panels),
    )


def outline(mask: np.ndarray) -> str:
    """The outline of an (h, w) bool mask along pixel edges, as SVG path data; nothing is smoothed.

    Edges are walked with the mask on the right, so that they close into loops. At a corner that two
    pixels share, the walk turns right and keeps them apart.
    """
    padded = np.pad(mask.astype(np.int8), 1)
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}

    def add(starts: np.ndarray, step: tuple[int, int]) -> None:
        for y, x in starts:
            edges.setdefault((int(y), int(x)), []).append(step)

    top, left = np.diff(padded, axis=0)[:, 1:-1], np.diff(padded, axis=1)[1:-1]
    add(np.argwhere(top == 1), (0, 1))
    add(np.argwhere(top == -1) + np.array([0, 1]), (0, -1))
    add(np.argwhere(left == 1) + np.array([1, 0]), (-1, 0))
    add(np.argwhere(left == -1), (1, 0))
    parts = []
    while edges:
        start = min(edges)
        parts.append(_loop(edges, start))
    return "".join(parts)


def _loop(edges: dict[tuple[int, int], list[tuple[int, int]]], start: tuple[int, int]) -> str:
    """Remove one closed walk from `edges` and return it, straight runs joined."""
    runs: list[list[int]] = []
    place, step = start, (0, 0)
    while True:
        steps = edges[place]
        right = (step[1], -step[0])
        step = right if right in steps else steps[0]
        steps.remove(step)
        if not steps:
            del edges[place]
        place = (place[0] + step[0], place[1] + step[1])
        if runs and (runs[-1][0] == 0) == (step[0] == 0):
            runs[-1] = [runs[-1][0] + step[0], runs[-1][1] + step[1]]
        else:
            runs.append([*step])
        if place == start:
            break
    moves = "".join(f"h{dx}" if dy == 0 else f"v{dy}" for dy, dx in runs)
    return f"M{start[1]} {start[0]}{moves}z"
