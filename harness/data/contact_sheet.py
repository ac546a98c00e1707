"""A contact sheet: slices of each set with the outline of the brain mask."""

from __future__ import annotations

import base64
import io
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from harness.data.catalogue import SETS, Dataset

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMNS = 8


def write_sheet(dataset: Dataset, out: Path, *, slices: int, seed: int) -> None:
    """Write a PNG of all sets, or an HTML page that embeds one PNG a set and asks for nothing."""
    names = [name for name in SETS if name in dataset.meta.sets]
    out.parent.mkdir(parents=True, exist_ok=True)
    if out.suffix.lower() == ".png":
        out.write_bytes(_png(dataset, names, slices, seed))
        return
    title = escape(f"{dataset.meta.title}: contact sheet")
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        "<meta http-equiv='Content-Security-Policy' "
        "content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\">",
        f"<title>{title}</title><style>body{{font-family:sans-serif;background:#111;color:#eee;",
        f"margin:1rem}}img{{max-width:100%}}</style><h1>{title}</h1>",
    ]
    for name in names:
        counts = dataset.meta.sets[name]
        data = base64.b64encode(_png(dataset, [name], slices, seed)).decode()
        parts.append(
            f"<h2>{escape(name)}</h2><p>{counts.slices} slices, {counts.slices_with_brain} with "
            f"brain, {counts.stacks} stacks, {counts.subjects} subjects</p>"
            f"<img alt='Slices of the set {escape(name)} with outlined brain masks' "
            f"src='data:image/png;base64,{data}'>"
        )
    out.write_text("\n".join(parts) + "</html>\n", encoding="utf-8")


def _png(dataset: Dataset, names: list[str], slices: int, seed: int) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    grids = [(name, _choose(dataset, name, slices, seed)) for name in names]
    rows = sum(-(-len(chosen) // COLUMNS) for _, chosen in grids)
    figure: Figure = Figure(figsize=(COLUMNS * 1.6, rows * 1.75), facecolor="#111")
    FigureCanvasAgg(figure)
    row = 0
    for name, chosen in grids:
        for place, (stack, index) in enumerate(chosen):
            position = (row + place // COLUMNS) * COLUMNS + place % COLUMNS + 1
            axes = figure.add_subplot(rows, COLUMNS, position)
            image = np.asarray(dataset.images(stack)[index])
            mask = np.asarray(dataset.masks(stack)[index])
            low, high = np.percentile(image, (1, 99.5))
            axes.imshow(image, cmap="gray", vmin=low, vmax=max(high, low + 1e-6))
            if mask.any() and not mask.all():
                axes.contour(mask, levels=[0.5], colors="#ff5a36", linewidths=0.7)
            axes.set_axis_off()
            axes.set_title(f"{name}: {stack} #{index}", fontsize=4.5, color="#ccc", pad=1.5)
        row += -(-len(chosen) // COLUMNS)
    figure.subplots_adjust(0.002, 0.002, 0.998, 0.985, 0.02, 0.08)
    buffer = io.BytesIO()
    # Without the software's name and date the same data set gives the same bytes.
    figure.savefig(buffer, format="png", dpi=110, metadata={"Software": None})
    return buffer.getvalue()


def _choose(dataset: Dataset, name: str, slices: int, seed: int) -> list[tuple[str, int]]:
    """A seeded sample in the table's order."""
    rows = dataset.rows(name)
    rng = np.random.default_rng(seed)
    taken = np.sort(rng.choice(len(rows), size=min(slices, len(rows)), replace=False))
    stacks, indices = rows["stack"].to_numpy(), rows["slice"].to_numpy()
    return [(str(stacks[i]), int(indices[i])) for i in taken]
