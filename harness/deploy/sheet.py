"""A contact sheet of one segmented stack: every slice, its outline, and which to look at."""

from __future__ import annotations

import io
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

if TYPE_CHECKING:
    from PIL.Image import Image

TILE, COLUMNS, MARGIN = 176, 8, 4
# More slices than this are thinned out; those to look at stay.
MOST_SLICES = 96
OUTLINE, LOOK, GROUND = (255, 90, 54), (255, 210, 60), (17, 17, 17)


def contact_sheet(
    images: NDArray[np.float32],
    masks: NDArray[np.uint8],
    spacing_mm: tuple[float, float],
    look: list[list[str]],
    title: str,
) -> bytes:
    """A PNG of (slices, rows, columns) images with outlines; yellow frames ask to be looked at."""
    from PIL import Image, ImageDraw

    chosen = _chosen(len(images), look)
    rows = ceil(len(chosen) / COLUMNS)
    columns = min(COLUMNS, len(chosen))
    cell = TILE + MARGIN
    width = max(columns * cell + MARGIN, 4 * TILE)
    sheet = Image.new("RGB", (width, rows * cell + MARGIN + 20), GROUND)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, 4), title, fill=(220, 220, 220))
    high = float(np.percentile(images, 99.7))
    for place, index in enumerate(chosen):
        left = MARGIN + place % COLUMNS * cell
        top = 20 + place // COLUMNS * cell
        tile = _tile(images[index], masks[index], spacing_mm, high)
        sheet.paste(tile, (left + (TILE - tile.width) // 2, top + (TILE - tile.height) // 2))
        why = look[index]
        text = f"{index}" + (f": {', '.join(why)}" if why else "")
        draw.text((left + 3, top + 2), text, fill=LOOK if why else (200, 200, 200))
        if why:
            draw.rectangle((left, top, left + TILE - 1, top + TILE - 1), outline=LOOK)
    buffer = io.BytesIO()
    sheet.save(buffer, format="PNG")
    return buffer.getvalue()


def _chosen(count: int, look: list[list[str]]) -> list[int]:
    """The slices to draw: all, or evenly spread ones beside those to look at."""
    if count <= MOST_SLICES:
        return list(range(count))
    asked = [index for index in range(count) if look[index]][:MOST_SLICES]
    spread = np.linspace(0, count - 1, MOST_SLICES - len(asked)).round().astype(int)
    return sorted({*asked, *spread.tolist()})


def _tile(
    image: NDArray[np.float32],
    mask: NDArray[np.uint8],
    spacing_mm: tuple[float, float],
    high: float,
) -> Image:
    """One slice in its true proportions, its outline in colour."""
    from PIL import Image

    size_mm = image.shape[0] * spacing_mm[0], image.shape[1] * spacing_mm[1]
    scale = TILE / max(size_mm)
    size = max(1, round(size_mm[1] * scale)), max(1, round(size_mm[0] * scale))
    low = min(0.0, float(image.min()))
    grey = np.clip((image - low) / max(high - low, 1e-6), 0, 1) ** 0.8
    tile = Image.fromarray((255 * grey).astype(np.uint8)).resize(size).convert("RGB")
    shown = np.asarray(Image.fromarray(255 * mask).resize(size)) > 127
    pixels = np.array(tile)
    pixels[shown & ~ndimage.binary_erosion(shown)] = OUTLINE
    return Image.fromarray(pixels)
