"""What an execution plan's masks are worth, as the leaderboard shows it."""

from __future__ import annotations

from harness.leaderboard.board.columns import Value, absent, per_cent
from harness.leaderboard.board.seed_groups import SeedGroup
from harness.leaderboard.board.titles import SETS, STATUS_TITLES
from harness.records.schema import NOT_SCORED, PlanAccuracy, PlanSetScores


def accuracy_of(group: SeedGroup, plan: str, precision: str) -> PlanAccuracy | None:
    """The accuracy of a plan: that of the lowest seed which has it, never an average."""
    entries = (one for stored in group.finished for one in stored.record.accuracy)
    return next((e for e in entries if (e.plan, e.precision) == (plan, precision)), None)


def plan_accuracy(group: SeedGroup, plan: str, precision: str) -> dict[str, Value]:
    """The columns of the plan's own masks on each test set."""
    entry = accuracy_of(group, plan, precision)
    values = {}
    for set_name in SETS:
        scores = entry.sets.get(set_name) if entry else None
        found = _known(scores) if scores else _unknown(group, entry, set_name)
        values |= {f"plan_{set_name}_{name}": value for name, value in found.items()}
    return values


def _known(scores: PlanSetScores) -> dict[str, Value]:
    of = f"{scores.subjects} subjects, {scores.slices} slices"
    points, low, high = (
        None if number is None else 100 * number
        for number in (scores.difference, scores.difference_low, scores.difference_high)
    )
    assert points is not None
    interval = (low, high) if low is not None and high is not None else None
    difference = Value(
        number=points,
        text=f"{points:+.2f}",
        note=f"from {100 * scores.reference_dice:.2f} % in float64; {of}"
        + (f"; no interval: {scores.difference_reason}" if scores.difference_reason else ""),
        interval=interval,
        below=f"{interval[0]:+.2f} to {interval[1]:+.2f}" if interval else "",
    )
    share = 100 * scores.changed_share
    changed = Value(number=share, text=f"{share:.3g}", note=of)
    return {"dice": per_cent(scores.dice, of), "difference": difference, "changed": changed}


def _unknown(group: SeedGroup, entry: PlanAccuracy | None, set_name: str) -> dict[str, Value]:
    notes = [note for note in group.first.notes if note.startswith(NOT_SCORED)]
    why = notes[0] if notes else "the accuracy of this plan was not scored"
    if entry is not None:
        why = entry.reason or f"not scored on the {set_name} set"
    text = STATUS_TITLES[entry.status] if entry and entry.status != "ok" else None
    value = absent(why, text) if text else absent(why)
    return dict.fromkeys(("dice", "difference", "changed"), value)
