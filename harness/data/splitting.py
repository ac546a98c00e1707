"""Which case goes into which set, and that nothing of the training comes back in a test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.data.cases import Case
from harness.data.catalogue import SETS, Dataset
from harness.errors import DataError, UsageError

LEAK_WARNING = (
    "split by stack: stacks of one subject are in several sets, so the tests show anatomy that "
    "was trained on and overstate what a network does on a new fetus."
)


def parse_split(texts: Sequence[str]) -> dict[str, str]:
    """`["sub-01,sub-02=train", "sub-03=normal"]` → name → set. Raises `UsageError`."""
    assigned: dict[str, str] = {}
    for text in texts:
        names, equals, set_name = text.rpartition("=")
        if not equals or set_name not in SETS:
            raise UsageError(
                f"--split {text!r}: write names=set with a set of {', '.join(SETS)}, "
                "as in sub-01,sub-02=train."
            )
        for name in filter(None, (part.strip() for part in names.split(","))):
            if assigned.setdefault(name, set_name) != set_name:
                raise UsageError(f"--split: {name!r} is put into {assigned[name]} and {set_name}.")
    return assigned


def assign_sets(
    cases: Sequence[Case], texts: Sequence[str], split_by: str
) -> tuple[dict[str, str], dict[str, object]]:
    """Set of each stack by name, and the split as `dataset.json` records it.

    Stacks that no name covers are absent. Raises `UsageError` where a name fits nothing, fits two
    sets, or names runs while the split is by subject.
    """
    given = {case.stack: case.set_name for case in cases if case.set_name}
    if given and not texts:
        return given, {"by": "given"}
    subjects = sorted({case.subject for case in cases})
    if not texts:
        raise UsageError(
            "no --split is given: say which subjects go where, as in "
            f"--split {subjects[0]}=train --split {subjects[-1]}=normal."
        )
    if split_by not in ("subject", "stack"):
        raise UsageError(f"--split-by {split_by!r}: use subject or stack.")
    assigned = parse_split(texts)
    sets: dict[str, str] = {}
    for name, set_name in assigned.items():
        fitting = [case for case in cases if _fits(name, case, split_by)]
        if not fitting:
            raise UsageError(_no_fit(name, cases, subjects, split_by))
        for case in fitting:
            if sets.setdefault(case.stack, set_name) != set_name:
                raise UsageError(
                    f"--split: {case.stack!r} falls into {sets[case.stack]} and {set_name}; "
                    "name each stack once."
                )
    return sets, {"by": split_by, "sets": {name: assigned[name] for name in sorted(assigned)}}


def _fits(name: str, case: Case, split_by: str) -> bool:
    if split_by == "subject":
        return name in (case.subject, case.subject.removeprefix("sub-"))
    return set(name.split("_")) <= set(case.stack.split("_"))


def _no_fit(name: str, cases: Sequence[Case], subjects: Sequence[str], split_by: str) -> str:
    if split_by == "subject" and any(_fits(name, case, "stack") for case in cases):
        return (
            f"--split names the stacks {name!r}, but sets are divided by subject: name subjects "
            f"({_some(subjects)}), or add --split-by stack if stacks of one subject may be in "
            "several sets (this leaks anatomy from training into the tests)."
        )
    known = subjects if split_by == "subject" else [case.stack for case in cases]
    return f"--split: no {split_by} is named {name!r}; there are {_some(known)}."


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")


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
