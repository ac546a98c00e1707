"""The latencies of a record: which are due, and which are lost with a process. Pure functions.

A record gains one latency after the other, from one fresh process or several (measuring, 6). So
nothing that was measured is lost with a process that runs out of memory or time, and an interrupted
run resumes where it was. The parent process imports this: nothing here needs NumPy.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from harness.measuring.profiles import profile
from harness.protocol import Measuring
from harness.records.schema import Condition, Latency, PlanAccuracy, Record, Status

# What a second try may fix. A plan that does not exist here and a batch that does not fit are
# results.
RETRIED: tuple[Status, ...] = ("timeout", "crashed", "invalid")
# The same gate says the same of the same code: this often is enough.
LEAST_FAILURES = 2
NUMBER = re.compile(r"\d[\d,.]*")


def conditions(plan: str, precision: str, settings: Measuring) -> list[Condition]:
    """What is measured of one plan, in order: batch sizes grow, so that peaks of memory do."""
    return [
        Condition(plan=plan, precision=precision, quantity=quantity, batch=batch)
        for batch in sorted(set(settings.batches))
        for quantity in settings.quantities
    ]


def find(entries: Iterable[Latency], condition: Condition) -> Latency | None:
    """The latency under that condition, or None."""
    return next((entry for entry in entries if entry.condition == condition), None)


def replaced(entries: Iterable[Latency], new: Iterable[Latency]) -> list[Latency]:
    """The entries, with the new ones in place of those under the same conditions."""
    return list({entry.condition: entry for entry in (*entries, *new)}.values())


def is_settled(entry: Latency, code: str | None) -> bool:
    """Whether a rerun by that code cannot change an invalid figure: it failed alike before."""
    same = entry.failed_code is not None and entry.failed_code == code
    return entry.status == "invalid" and same and entry.failures >= LEAST_FAILURES


def with_failures(entry: Latency, before: Latency | None, code: str | None) -> Latency:
    """The new entry, with the number of runs that have been invalid in its way.

    Two reasons are the same if they differ in numbers only.
    """
    if entry.status != "invalid":
        return entry
    alike = (
        before is not None
        and before.status == "invalid"
        and before.failed_code == code
        and NUMBER.sub("#", before.reason or "") == NUMBER.sub("#", entry.reason or "")
    )
    failures = before.failures + 1 if alike and before else 1
    return entry.model_copy(update={"failures": failures, "failed_code": code})


def missing_parts(
    entries: Sequence[Latency],
    asked: Iterable[Condition],
    settings: Measuring,
    code: str | None = None,
) -> list[int]:
    """Numbers of the processes that have yet to measure some of the conditions.

    `code` is a digest of what would measure; without it nothing invalid is settled.
    """
    parts = done = profile(settings.profile).processes
    for condition in asked:
        entry = find(entries, condition)
        if entry is None:
            done = 0
        elif entry.status in ("ok", *RETRIED) and not is_settled(entry, code):
            done = min(done, entry.processes)
    return list(range(done, parts))


def scoring_is_due(
    record: Record,
    plan: str,
    precision: str,
    weights_sha256: str | None = None,
    *,
    force: bool = False,
) -> bool:
    """Whether the accuracy of a plan is still to be scored.

    It is if the plan was timed well, and with trained weights: those of the record's own scores, or
    the given ones, whose digest then counts. A scoring that broke is tried again, as a timing is.
    """
    timed = any(
        (entry.plan, entry.precision, entry.status) == (plan, precision, "ok")
        for entry in record.latency
    )
    if not timed or (not record.scores and weights_sha256 is None):
        return False
    same = (one for one in record.accuracy if (one.plan, one.precision) == (plan, precision))
    found = next(same, None)
    return (
        force
        or found is None
        or found.status in RETRIED
        or (weights_sha256 is not None and found.weights_sha256 != weights_sha256)
    )


def with_accuracy(entries: Iterable[PlanAccuracy], new: PlanAccuracy) -> list[PlanAccuracy]:
    """The entries, with the new one in place of that of the same plan."""
    return list({(one.plan, one.precision): one for one in (*entries, new)}.values())


def is_due(entry: Latency | None, part: int, *, force: bool, code: str | None = None) -> bool:
    """Whether process number `part` has yet to measure what the entry says."""
    if entry is None or (force and part == 0):
        return part == 0
    retried = entry.status in ("ok", *RETRIED) and not is_settled(entry, code)
    return retried and entry.processes == part


def lost(
    entries: Sequence[Latency],
    under_way: Condition,
    *,
    default: bool,
    settings: Measuring,
    part: int,
    status: Status,
    reason: str,
) -> list[Latency]:
    """The entries after process number `part` ended in the middle of a measurement.

    The measurement has the status and the reason; what the process did not come to is skipped.
    """
    skipped = (
        f"skipped_after_{status}: the process ended at {under_way.quantity}, "
        f"batch {under_way.batch}."
    )
    found: list[Latency] = []
    for condition in conditions(under_way.plan, under_way.precision, settings):
        old = find(entries, condition)
        if condition != under_way and not (found and (old is None or old.processes == part)):
            continue
        blank = Latency(
            **condition.model_dump(), default=default, profile=settings.profile, status=status
        )
        why = reason if condition == under_way else skipped
        update = {"status": status, "reason": why, "publishable": False}
        found.append((old or blank).model_copy(update=update))
    return replaced(entries, found)
