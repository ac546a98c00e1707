"""A record put to the test: its cell is run again and the two are compared."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from harness.records.schema import Record

SCORES = ("dice", "iou", "subject_dice", "paper_dice")


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """One figure, as recorded and as found again."""

    what: str
    recorded: float | str | None
    again: float | str | None
    tolerance: float
    agrees: bool


def compare(recorded: Record, again: Record, tolerance: float) -> list[Agreement]:
    """What the two records say; whether weights are equal is told and decides nothing."""
    found = [_equal("status", recorded.status, again.status)]
    found += list(_scores(recorded, again, tolerance))
    if recorded.cost and again.cost:
        for name in ("trainable_parameters", "macs"):
            found.append(_equal(name, getattr(recorded.cost, name), getattr(again.cost, name)))
    return found


def same_weights(recorded: Record, again: Record) -> bool | None:
    """Whether both trainings ended with the same bits; None if one did not train."""
    if recorded.training is None or again.training is None:
        return None
    return recorded.training.weights_sha256 == again.training.weights_sha256


def _scores(recorded: Record, again: Record, tolerance: float) -> Iterator[Agreement]:
    for set_name, scores in recorded.scores.items():
        other = again.scores.get(set_name)
        for name in SCORES:
            value, found = getattr(scores, name), getattr(other, name, None)
            yield Agreement(
                what=f"{set_name} {name}",
                recorded=value,
                again=found,
                tolerance=tolerance,
                agrees=found is not None and abs(value - found) <= tolerance,
            )


def _equal(what: str, recorded: float | str, again: float | str) -> Agreement:
    return Agreement(
        what=what, recorded=recorded, again=again, tolerance=0.0, agrees=recorded == again
    )
