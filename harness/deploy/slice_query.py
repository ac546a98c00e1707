"""The whole way of a slice as a query that the deadline test can replay (`measuring.stream`)."""

from __future__ import annotations

from typing import Any

from typing_extensions import override

from backends.contract import Array, Inference
from backends.errors import Unsupported
from harness.deploy.segmenter import SegmentedSlice, Segmenter


class SliceQuery(Inference):
    """From raw slices (1, rows, columns, 1) to masks on their own grid, as `end_to_end` queries.

    Unlike the queries that a benchmark times, fitting, normalisation and the way back count.
    """

    def __init__(self, segmenter: Segmenter, image: Array, spacing_mm: tuple[float, float]) -> None:
        self._segmenter, self._image, self._spacing_mm = segmenter, image, spacing_mm

    @override
    def set_images(self, images: Array) -> None:
        self._image = images

    @override
    def launch(self) -> SegmentedSlice:
        return self._segmenter.slice(self._image[0, :, :, 0], self._spacing_mm)

    @override
    def synchronise(self, result: Any) -> None:
        """Nothing to wait for: the mask is on the host."""

    @override
    def logits(self, result: Any) -> Array:
        raise Unsupported("a slice query gives masks, not logits.")

    @override
    def compilations(self) -> int:
        return self._segmenter.compilations()
