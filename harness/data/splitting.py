"""Which case goes into which set."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from shlex import quote

from harness.data.cases import Case
from harness.data.catalogue import SETS
from harness.data.naming import original
from harness.data.ratio import by_ratio
from harness.errors import UsageError


def parse_split(texts: Sequence[str]) -> dict[str, str]:
    """`["sub-01,sub-02=train", "sub-03=normal"]` → name → set. Raises `UsageError`."""
    assigned: dict[str, str] = {}
    for text in texts:
        names, equals, set_name = text.rpartition("=")
        if not equals or set_name not in SETS:
            raise UsageError(
                f"--split {text!r}: write names=set with a set of {', '.join(SETS)}, "
                "as in sub-01,sub-02=train or run-*=train."
            )
        for name in filter(None, (original(part.strip()) for part in names.split(","))):
            if assigned.setdefault(name, set_name) != set_name:
                raise UsageError(f"--split: {name!r} is put into {assigned[name]} and {set_name}.")
    return assigned


@dataclass(frozen=True, kw_only=True)
class Split:
    """How the user divides: by names or patterns, by a table, or by a seeded ratio."""

    texts: Sequence[str] = ()
    by: str = "subject"
    table: Path | None = None
    ratio: str = ""
    seed: int = 0

    @property
    def is_given(self) -> bool:
        return bool(self.texts or self.table or self.ratio)


def assign_sets(cases: Sequence[Case], wish: Split) -> tuple[dict[str, str], dict[str, object]]:
    """Set of each stack by name, and the split as `dataset.json` records it.

    Stacks that no name covers are absent. Raises `UsageError` where a name fits nothing, fits two
    sets, or names runs while the split is by subject.
    """
    cases = [case for case in cases if not case.left_out]
    if wish.by not in ("subject", "stack"):
        raise UsageError(f"--split-by {wish.by!r}: use subject or stack.")
    if sum(map(bool, (wish.texts, wish.table, wish.ratio))) > 1:
        raise UsageError("--split, --split-file and --split-ratio exclude one another; give one.")
    given = {case.stack: case.set_name for case in cases if case.set_name}
    if given and not wish.is_given:
        return given, {"by": "given"}
    if not wish.is_given:
        raise UsageError(suggestion(cases))
    if wish.ratio and wish.by != "subject":
        raise UsageError("--split-ratio divides subjects; leave --split-by stack out.")
    if wish.ratio:
        return by_ratio(cases, wish.ratio, wish.seed)
    assigned = read_split(wish.table) if wish.table else parse_split(wish.texts)
    sets: dict[str, str] = {}
    for name, set_name in assigned.items():
        fitting = _fitting(name, cases, wish.by)
        if not fitting:
            raise UsageError(_no_fit(name, cases, wish.by))
        for case in fitting:
            if sets.setdefault(case.stack, set_name) != set_name:
                raise UsageError(
                    f"--split: {case.stack!r} falls into {sets[case.stack]} and {set_name}; "
                    "name each stack once."
                )
    return sets, {"by": wish.by, "sets": {name: assigned[name] for name in sorted(assigned)}}


def read_split(path: Path) -> dict[str, str]:
    """Name → set from a table with the columns set and subject (or participant_id, stack).

    Raises `UsageError` with the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--split-file {path}: cannot be read ({error}).") from None
    delimiter = max("\t,;", key=text.split("\n", 1)[0].count)
    reader = csv.DictReader(text.splitlines(), delimiter=delimiter)
    assigned: dict[str, str] = {}
    for held in reader:
        row = {key.strip().lower(): (value or "").strip() for key, value in held.items() if key}
        names = [row[key] for key in ("stack", "subject", "participant_id") if row.get(key)]
        if not names or row.get("set") not in SETS:
            raise UsageError(
                f"--split-file {path}, line {reader.line_num}: expected the columns subject (or "
                f"participant_id, or stack) and set, a set being one of {', '.join(SETS)}."
            )
        if assigned.setdefault(original(names[0]), row["set"]) != row["set"]:
            raise UsageError(
                f"--split-file {path}, line {reader.line_num}: {names[0]!r} is put into two sets."
            )
    if not assigned:
        raise UsageError(f"--split-file {path}: has no row; write subject and set, one a line.")
    return assigned


def _fitting(name: str, cases: Sequence[Case], by: str) -> list[Case]:
    """The cases that a name means: the one of exactly that name, else those that it fits."""
    key = (lambda case: case.subject) if by == "subject" else (lambda case: case.stack)
    exact = [case for case in cases if key(case) == name]
    return exact or [case for case in cases if _fits(name, case, by)]


def _fits(name: str, case: Case, by: str) -> bool:
    if by == "subject":
        return any(
            fnmatchcase(held, name) for held in (case.subject, case.subject.removeprefix("sub-"))
        )
    parts = case.stack.split("_")
    return fnmatchcase(case.stack, name) or all(
        any(fnmatchcase(part, wanted) for part in parts) for wanted in name.split("_")
    )


def _no_fit(name: str, cases: Sequence[Case], by: str) -> str:
    subjects = sorted({case.subject for case in cases})
    if by == "subject" and any(_fits(name, case, "stack") for case in cases):
        return (
            f"--split names the stacks {name!r}, but sets are divided by subject: name subjects "
            f"({_some(subjects)}), or add --split-by stack if stacks of one subject may be in "
            "several sets (this leaks anatomy from training into the tests)."
        )
    known = subjects if by == "subject" else [case.stack for case in cases]
    return f"--split: no {by} is named {name!r}; there are {_some(known)}."


def suggestion(cases: Sequence[Case]) -> str:
    """Why nothing can be divided yet, with words that would be accepted."""
    subjects = sorted({case.subject for case in cases})
    stacks = sorted(case.stack for case in cases)
    start = "no --split is given: say which subjects go where, as in "
    if len(subjects) > 1:
        if not _plain(subjects[0]) or not _plain(subjects[-1]):
            return f"{start}--split-ratio 0.5/0.5."
        return f"{start}--split {quote(subjects[0])}=train --split {quote(subjects[-1])}=normal."
    if len(stacks) > 1 and _plain(stacks[0]) and _plain(stacks[-1]):
        return (
            f"no --split is given, and there is one subject only ({subjects[0]}): divide its "
            f"stacks, as in --split-by stack --split {quote(stacks[0])}=train --split "
            f"{quote(stacks[-1])}=normal (this leaks anatomy from training into the tests)."
        )
    return (
        "no --split is given, and there is nothing to divide: one subject alone can be tested "
        "on, with --split '*=normal', or trained on, with --split '*=train'."
    )


def _plain(name: str) -> bool:
    """Whether --split takes the name as it is."""
    return not set(name) & set(",=*?[") and name == name.strip()


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
