"""Which values of a mask are the brain, which are not, and which nobody drew."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from harness.errors import DataError, UsageError

# Two values that are not 0 and 1: a scale of some program, unless small whole numbers (labels).
_LARGEST_LABEL = 99
_DUST = 1e-3
MASKS_ARE = "save brain as 1 and the rest as 0, or name the brain's labels with --brain-labels"


@dataclass(frozen=True, kw_only=True)
class Labels:
    """Values of the brain, of other structures, and of voxels that nobody annotated.

    `every` takes all values but 0, `other` and `ignored` for brain; `named` says that somebody
    named the values, so that any other value is an error and none is read as a scale. `fault` says
    why a source does not tell which is the brain; what the user says takes it away.
    """

    brain: tuple[int, ...] = (1,)
    other: tuple[int, ...] = ()
    ignored: tuple[int, ...] = ()
    every: bool = False
    named: bool = False
    fault: str = ""

    def overridden(self, wanted: Labels | None) -> Labels:
        """These labels with what the user said instead."""
        if wanted is None:
            return self
        known = (
            {*self.brain, *self.other, *wanted.other}
            if self.named or self.fault
            else set(wanted.other)
        )
        ignored = (*self.ignored, *wanted.ignored)
        if not wanted.named:
            return Labels(
                brain=tuple(v for v in self.brain if v not in (*wanted.other, *ignored)),
                other=tuple(sorted(known - {*self.brain, *ignored})),
                ignored=ignored,
                named=True,
            )
        other = set(wanted.other) if wanted.every else known - {*wanted.brain, *ignored}
        return Labels(
            brain=wanted.brain,
            other=tuple(sorted(other)),
            ignored=ignored,
            every=wanted.every,
            named=True,
        )

    def described(self) -> dict[str, object]:
        """For `dataset.json`."""
        brain: object = "all" if self.every else list(self.brain)
        return {"brain": brain, "other": list(self.other), "ignored": list(self.ignored)}

    def split(
        self, values: NDArray[np.float32], path: Path
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_], str]:
        """Brain 0/1, what is not annotated, and a warning. Raises `DataError` on other values."""
        values = _without_dust(values)
        ignored = np.isin(values, self.ignored)
        if self.every:
            brain = (values > 0) & (values == np.rint(values)) & ~ignored
            brain &= ~np.isin(values, self.other)
        else:
            brain = np.isin(values, self.brain)
        known = brain | ignored | np.isin(values, (0, *self.other))
        if known.all():
            return brain.astype(np.uint8), ignored, ""
        scaled = None if self.named else _scale(values)
        if scaled is None:
            raise DataError(self._strange(values[~known], path))
        brain = np.abs(values - scaled) <= _DUST * scaled
        return brain.astype(np.uint8), ignored, f"its brain is saved as {scaled:g}, read as 1"

    def _strange(self, strange: NDArray[np.float32], path: Path) -> str:
        # A few of them say enough; sorting millions would take seconds.
        found = np.unique(strange[:1000])
        shown = ", ".join(f"{value:g}" for value in found[:5]) + (", …" if len(found) > 5 else "")
        if self.every:
            return f"{path}: holds {shown}, which is no label; labels are whole numbers from 0."
        if self.named:
            return (
                f"{path}: holds {shown}, which dataset.json does not name (nor does "
                "--brain-labels); add it there, or to --other-labels if it is not brain."
            )
        return f"{path}: is no binary mask, it holds {shown}; {MASKS_ARE}."


def _without_dust(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Whole numbers that resampling left a trace beside, made whole."""
    whole = np.rint(values)
    away = np.subtract(values, whole)
    np.abs(away, out=away)
    return values if not away.any() else np.where(away <= _DUST, whole, values)


def _scale(values: NDArray[np.float32]) -> float | None:
    """The one value beside 0 of a mask in other clothes: 255, or what a scaling made of 1."""
    top = float(values.max())
    if not np.isfinite(top) or top <= 1 or (top == round(top) and top <= _LARGEST_LABEL):
        return None
    near = (np.abs(values) <= _DUST * top) | (np.abs(values - top) <= _DUST * top)
    return top if near.all() else None


def parse_labels(brain: str, other: str = "", ignored: str = "") -> Labels | None:
    """`1,2,5-7` or `all` of the command line; None where nothing is said. Raises `UsageError`."""
    if not (brain or other or ignored):
        return None
    every = brain.strip().lower() == "all"
    labels = Labels(
        brain=() if every else _numbers("--brain-labels", brain),
        other=_numbers("--other-labels", other),
        ignored=_numbers("--ignore-labels", ignored),
        every=every,
        named=bool(brain),
    )
    twice = {*labels.brain} & {*labels.other, *labels.ignored} | {*labels.other} & {*labels.ignored}
    if twice:
        raise UsageError(f"label {min(twice)} is named twice; a value means one thing.")
    if 0 in (*labels.brain, *labels.ignored):
        raise UsageError("label 0 is the background; leave it out.")
    return labels


def _numbers(option: str, text: str) -> tuple[int, ...]:
    found: list[int] = []
    for part in filter(None, (item.strip() for item in text.split(","))):
        low, dash, high = part.partition("-")
        if not low.isdecimal() or (dash and not high.isdecimal()):
            raise UsageError(f"{option} {text!r}: expected labels such as 1,2,5-7 (or all).")
        found += range(int(low), int(high or low) + 1)
    return tuple(dict.fromkeys(found))


def ranges(numbers: Iterable[int]) -> str:
    """`0–2, 5` of 0, 1, 2, 5."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and number == parts[-1][-1] + 1:
            parts[-1].append(number)
        else:
            parts.append([number])
    return ", ".join(f"{p[0]}" if len(p) == 1 else f"{p[0]}–{p[-1]}" for p in parts)
