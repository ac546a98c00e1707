"""Which case goes into which set, and that nothing of the training comes back in a test."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import combinations

import numpy as np

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


def check_leakage(dataset: Dataset) -> None:
    """No subject and no identical slice in two sets. Raises `DataError`.

    Subjects may be shared where the split was made by stack on explicit wish; constant slices
    (empty ends of a stack) are alike everywhere and tell nothing.
    """
    groups = {name: dataset.rows(name) for name in SETS if name in dataset.meta.sets}
    if dataset.meta.split.get("by") != "stack":
        for (one, first), (two, second) in combinations(groups.items(), 2):
            shared = sorted(set(first["subject"]) & set(second["subject"]))
            if shared:
                raise DataError(
                    f"subject {shared[0]} is in the sets {one} and {two}; put it into one, or "
                    "divide by stack on explicit wish (--split-by stack)."
                )
    seen: dict[bytes, tuple[str, str]] = {}
    for name, rows in groups.items():
        for stack in sorted(set(rows["stack"])):
            for index, image in enumerate(dataset.images(stack)):
                if image.min() == image.max():
                    continue
                key = hashlib.sha256(np.ascontiguousarray(image).data).digest()
                where = f"slice {index} of {stack}"
                other, place = seen.setdefault(key, (name, where))
                if other != name:
                    raise DataError(
                        f"{where} ({name}) is the same image as {place} ({other}); "
                        "a test must not hold what was trained on: take one of them out."
                    )
