"""Images for queries: most are new to the network, some come a second time."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from backends.contract import Array
from harness.errors import DataError

# Every fourth query repeats the input of the query before it. Were all inputs the same, a backend
# that remembers answers would win; were none repeated, it would not be seen.
REPEAT_EVERY = 4


class Inputs:
    """Distinct batches made from a few images: seeded order, rolled when they come again.

    `images` are (n, height, width, 1) float32; batch k is (batch, height, width, 1) and is the
    same for the same seed in every framework and process. Batch 0 is for warming up.
    `pulse` is called when a batch is asked for: between two queries, so that it is never timed.
    """

    def __init__(
        self, images: Array, batch: int, seed: int, pulse: Callable[[], None] = lambda: None
    ) -> None:
        if len(images) == 0:
            raise DataError("there are no images to time with: the test sets are empty.")
        self._images = images
        self._batch = batch
        self._pulse = pulse
        self._order = np.random.default_rng(seed).permutation(len(images))

    def batch(self, index: int) -> Array:
        """Batch number `index`, contiguous."""
        self._pulse()
        places = np.arange(index * self._batch, (index + 1) * self._batch)
        rows = self._order[places % len(self._images)]
        shifts = places // len(self._images)
        batch = np.ascontiguousarray(self._images[rows])
        for image, shift in zip(batch, shifts, strict=True):
            if shift:
                down, right = shift % len(image), shift // len(image)
                image[:] = np.roll(image, (down, right), axis=(0, 1))
        return batch

    @staticmethod
    def of_query(query: int) -> int:
        """Number of the batch that a timed query sees."""
        return query if is_repeat(query) else query + 1


def is_repeat(query: int) -> bool:
    """Whether a query sees the input of the query before it."""
    return query % REPEAT_EVERY == REPEAT_EVERY - 1
