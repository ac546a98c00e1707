"""The latencies of a record: what is due, and what is lost with a process."""

from __future__ import annotations

import pytest

from harness.measuring import entries
from harness.protocol import Measuring
from harness.records.schema import Condition, Latency, PlanAccuracy, Quantity, Status
from tests.records.test_store import make_record

SETTINGS = Measuring(profile="publish", batches=(8, 1), quantities=("forward", "end_to_end"))


def condition(batch: int, quantity: Quantity = "forward", **other: str) -> Condition:
    named = {"plan": "eager", "precision": "float32"} | other
    return Condition(**named, quantity=quantity, batch=batch)


def latency(of: Condition, status: Status = "ok", processes: int = 3) -> Latency:
    return Latency(**of.model_dump(), profile="publish", status=status, processes=processes)


ASKED = entries.conditions("eager", "float32", SETTINGS)


def test_batches_grow_and_each_has_all_quantities() -> None:
    assert [(one.batch, one.quantity) for one in ASKED] == [
        (1, "forward"),
        (1, "end_to_end"),
        (8, "forward"),
        (8, "end_to_end"),
    ]


@pytest.mark.parametrize(
    ("last", "missing"),
    [
        (None, [0, 1, 2]),
        (latency(ASKED[-1], processes=1), [1, 2]),
        (latency(ASKED[-1], "timeout", processes=2), [2]),
        (latency(ASKED[-1], "crashed", processes=0), [0, 1, 2]),
        # Results, not failures: a second try would find the same.
        (latency(ASKED[-1], "oom", processes=0), []),
        (latency(ASKED[-1], "unsupported", processes=0), []),
        (latency(ASKED[-1]), []),
    ],
)
def test_processes_are_missing_up_to_the_profiles(last: Latency | None, missing: list[int]) -> None:
    there = [latency(one) for one in ASKED[:-1]]
    if last:
        there.append(last)
    assert entries.missing_parts(there, ASKED, SETTINGS) == missing


def test_another_plan_or_precision_is_another_condition() -> None:
    there = [latency(one) for one in ASKED]
    others = entries.conditions("eager", "bfloat16", SETTINGS)
    assert entries.missing_parts(there, others, SETTINGS) == [0, 1, 2]
    assert entries.find(there, condition(1, plan="compile")) is None


def test_a_process_measures_what_the_one_before_has_left() -> None:
    good, failed = latency(ASKED[0], processes=1), latency(ASKED[0], "oom", processes=1)
    assert entries.is_due(None, 0, force=False)
    assert not entries.is_due(None, 1, force=False)
    assert entries.is_due(good, 1, force=False)
    assert not entries.is_due(good, 2, force=False)
    assert not entries.is_due(failed, 1, force=False)
    assert not entries.is_due(good, 0, force=False)
    assert entries.is_due(good, 0, force=True)
    assert entries.is_due(good, 1, force=True)


def test_a_lost_process_leaves_what_was_measured_and_skips_the_rest() -> None:
    there = [latency(ASKED[0], processes=1), latency(condition(64))]
    found = entries.lost(
        there,
        ASKED[1],
        default=True,
        settings=SETTINGS,
        part=0,
        status="timeout",
        reason="took more than 12 s",
    )
    by_condition = {one.condition: one for one in found}
    assert by_condition[ASKED[0]] == there[0]
    assert by_condition[condition(64)] == there[1]
    lost = by_condition[ASKED[1]]
    assert (lost.status, lost.reason, lost.default) == ("timeout", "took more than 12 s", True)
    for skipped in ASKED[2:]:
        reason = by_condition[skipped].reason
        assert reason == "skipped_after_timeout: the process ended at end_to_end, batch 1."
    # A later process that is lost keeps the samples of those before.
    again = entries.lost(
        [latency(one, processes=1) for one in ASKED],
        ASKED[3],
        default=True,
        settings=SETTINGS,
        part=1,
        status="crashed",
        reason="SIGSEGV",
    )
    assert [(one.status, one.processes) for one in again] == [("ok", 1)] * 3 + [("crashed", 1)]


def invalid(reason: str, **found: object) -> Latency:
    blank = latency(ASKED[0], "invalid", processes=0)
    return blank.model_copy(update={"reason": reason} | found)


def test_what_fails_the_same_way_twice_is_not_tried_for_ever() -> None:
    once = entries.with_failures(invalid("took 1.31 times as long."), None, "code")
    assert (once.failures, once.failed_code) == (1, "code")
    assert entries.missing_parts([once], ASKED[:1], SETTINGS, "code") == [0, 1, 2]
    twice = entries.with_failures(invalid("took 1.52 times as long."), once, "code")
    assert twice.failures == 2
    assert entries.missing_parts([twice], ASKED[:1], SETTINGS, "code") == []
    assert not entries.is_due(twice, 0, force=False, code="code")
    assert entries.is_due(twice, 0, force=True, code="code")
    # Other code may do better, and another gate is another finding.
    assert entries.missing_parts([twice], ASKED[:1], SETTINGS, "other") == [0, 1, 2]
    assert entries.is_due(twice, 0, force=False, code="other")
    assert entries.with_failures(invalid("other masks."), twice, "code").failures == 1
    assert entries.with_failures(invalid("took 2 times as long."), once, "other").failures == 1
    # Neither a crash nor a good figure is counted.
    crashed = entries.with_failures(latency(ASKED[0], "crashed", processes=0), twice, "code")
    assert crashed.failures == 0
    assert entries.missing_parts([crashed], ASKED[:1], SETTINGS, "code") == [0, 1, 2]


def scored(status: Status = "ok", weights: str = "a") -> PlanAccuracy:
    return PlanAccuracy(
        plan="eager",
        precision="float32",
        status=status,
        quantity="forward",
        batch=1,
        weights_sha256=weights,
    )


@pytest.mark.parametrize(
    ("latencies", "accuracy", "weights", "due"),
    [
        ([latency(ASKED[0])], [], None, False),  # no weights that were trained
        ([latency(ASKED[0])], [], "a", True),
        ([], [], "a", False),  # not timed
        ([latency(ASKED[0], "oom")], [], "a", False),
        ([latency(ASKED[0])], [scored()], "a", False),
        ([latency(ASKED[0])], [scored("crashed")], "a", True),
        ([latency(ASKED[0])], [scored("unsupported")], "a", False),
        ([latency(ASKED[0])], [scored()], "b", True),
    ],
)
def test_a_plan_is_scored_once_it_was_timed_and_again_with_other_weights(
    latencies: list[Latency], accuracy: list[PlanAccuracy], weights: str | None, due: bool
) -> None:
    record = make_record(latency=latencies, accuracy=accuracy)
    assert entries.scoring_is_due(record, "eager", "float32", weights) is due
    assert not entries.scoring_is_due(record, "compile", "float32", weights)
