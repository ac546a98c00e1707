"""Nothing of the training comes back in a test."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.catalogue import SETS, Dataset
from harness.errors import DataError

LEAK_WARNING = (
    "split by stack: stacks of one subject are in several sets, so the tests show anatomy that "
    "was trained on and overstate what a network does on a new fetus."
)


class LeakSearch:
    """Looks for a subject or an identical slice in two sets, one stack after another.

    Subjects may be shared where the split was made by stack on explicit wish; constant slices
    (empty ends of a stack) are alike everywhere and tell nothing.
    """

    def __init__(self, *, by_stack: bool = False) -> None:
        self._by_stack = by_stack
        self._subjects: dict[str, str] = {}
        self._slices: dict[bytes, tuple[str, str]] = {}

    def add(self, set_name: str, subject: str, stack: str, images: NDArray[Any]) -> None:
        """Compare a stack (slices, height, width) with those before. Raises `DataError`."""
        other = self._subjects.setdefault(subject, set_name)
        if other != set_name and not self._by_stack:
            raise DataError(
                f"subject {subject} is in the sets {other} and {set_name}; put it into one, or "
                "divide by stack on explicit wish (--split-by stack)."
            )
        for index, image in enumerate(images):
            if image.min() == image.max():
                continue
            key = hashlib.sha256(np.ascontiguousarray(image).data).digest()
            where = f"slice {index} of {stack}"
            other, place = self._slices.setdefault(key, (set_name, where))
            if other != set_name:
                raise DataError(
                    f"{where} ({set_name}) is the same image as {place} ({other}); "
                    "a test must not hold what was trained on: take one of them out."
                )


def check_leakage(dataset: Dataset) -> None:
    """No subject and no identical slice in two sets (`LeakSearch`). Raises `DataError`."""
    search = LeakSearch(by_stack=dataset.meta.split.get("by") == "stack")
    for name in (name for name in SETS if name in dataset.meta.sets):
        stacks = dataset.rows(name).drop_duplicates("stack").sort_values("stack")
        for stack, subject in zip(stacks["stack"], stacks["subject"], strict=True):
            search.add(name, str(subject), str(stack), dataset.images(str(stack)))
