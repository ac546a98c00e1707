"""The timer against planted delays and faults (measuring, 13; no framework needed)."""

from __future__ import annotations

from time import perf_counter_ns

import numpy as np
import pandas as pd
import pytest

from backends.contract import Runtime
from backends.errors import BackendError
from backends.plans import Plan, chosen
from harness.errors import DataError, UsageError
from harness.measuring.inputs import Inputs, is_repeat
from harness.measuring.latency import Setting, measure
from harness.measuring.profiles import PROFILES, Profile, profile
from harness.measuring.summary import figures, gather, measurements_of, summarise
from harness.measuring.timer import is_steady, time_queries, time_query
from harness.measuring.timing_run import measure_network
from harness.protocol import Measuring
from harness.records.schema import Condition, Quantity
from tests.contract import fakes

pytestmark = pytest.mark.alone

SHORT = Profile(
    name="quick",
    publishable=False,
    processes=1,
    queries=64,
    seconds=0.0,
    queries_batched=64,
    seconds_batched=0.0,
    warm_up_calls=2,
    warm_up_s=0.0,
    warm_up_limit_s=0.05,
)


@pytest.fixture
def images():
    return np.random.default_rng(0).standard_normal((4, 8, 8, 1)).astype(np.float32)


def run(kind, images, quantity: Quantity = "forward", batch=1, profile=SHORT, **setting):
    return measure(
        fakes.FakeNetwork(kind, 8, 8),
        images,
        Condition(plan="fake", precision="float32", quantity=quantity, batch=batch),
        Setting(profile=profile, **setting),
    )


def planted(images, quantity):
    """Latencies (ns) of planted sleeps, what was slept, and which of them were long."""
    made: list[fakes.Sleeping] = []

    def sleeping(*args):
        made.append(fakes.Sleeping(*args))
        return made[-1]

    measured = run(sleeping, images, quantity)
    assert measured.status == "ok", measured.reasons
    assert measured.latency_ns is not None
    queries = len(measured.latency_ns)
    return measured.latency_ns, np.array(made[0].slept_ns[-queries:]), made[0].slow[-queries:]


@pytest.mark.parametrize("quantity", ["forward", "end_to_end"])
def test_planted_sleeps_are_read_right(images, quantity):
    # A busy machine makes sleeps longer than planted; the fake knows how long they were. Another
    # process can still come between a sleep and its stamp, but a wrong timer is wrong every time.
    tries = (planted(images, quantity) for _ in range(3))
    good = (found for found in tries if abs(np.median(found[0] / found[1]) - 1) <= 0.02)
    latency_ns, _, slow = next(good)
    long = np.array(slow)
    assert 3 <= long.sum() <= 4
    assert latency_ns[~long].min() / 1e9 == pytest.approx(fakes.FAST_S, rel=0.02)
    assert latency_ns[long].min() / 1e9 == pytest.approx(fakes.SLOW_S, rel=0.02)


def test_asynchronous_backend_is_timed_to_its_end(images):
    def ratio() -> float:
        made: list[fakes.Asynchronous] = []

        def asynchronous(*args):
            made.append(fakes.Asynchronous(*args))
            return made[-1]

        measured = run(asynchronous, images)
        assert measured.status == "ok", measured.reasons
        assert measured.latency_ns is not None
        assert measured.latency_ns.min() >= fakes.FAST_S * 1e9
        worked = made[0].worked_ns[-len(measured.latency_ns) :]
        return float(np.median(measured.latency_ns / np.array(worked)))

    # Another process can come between the end of a query and its stamp, and never makes it less.
    assert min(ratio() for _ in range(3)) == pytest.approx(1, rel=0.02)


def test_missing_synchronisation_is_caught(images):
    measured = run(fakes.Unsynchronised, images)
    assert measured.status == "invalid"
    assert "still working at the stop stamp" in measured.reasons[0]


@pytest.mark.parametrize(
    ("kind", "quantity", "reason"),
    [
        (fakes.Retracing, "forward", "compiled 1 time"),
        (fakes.Remembering, "forward", "remembers answers"),
        (fakes.Remembering, "end_to_end", "remembers answers"),
        (fakes.Wrong, "forward", "other masks"),
        (fakes.Wrong, "end_to_end", "other masks"),
        (fakes.Lazy, "end_to_end", "not a uint8 mask"),
    ],
)
def test_planted_faults_are_caught(images, kind, quantity, reason):
    measured = run(kind, images, quantity)
    assert measured.status == "invalid"
    assert any(reason in sentence for sentence in measured.reasons)


def run_reduced(kind, images):
    condition = Condition(plan="fake", precision="bfloat16", quantity="end_to_end", batch=1)
    return measure(fakes.FakeNetwork(kind, 8, 8), images, condition, Setting(profile=SHORT))


def test_a_reduced_precision_may_give_other_masks_and_they_are_remarked(images):
    class Coarse(fakes.FakeInference):
        def answer(self):
            return np.roll(super().answer(), 1, axis=2)

    measured = run_reduced(Coarse, images)
    assert (measured.status, measured.reasons) == ("ok", ())
    (remark,) = measured.remarks
    assert remark.endswith("of 256 pixels timed differ from float32's masks.")


def test_a_reduced_precision_that_answers_otherwise_each_time_is_caught(images):
    class Moody(fakes.FakeInference):
        def answer(self):
            return np.roll(super().answer(), self.calls, axis=2)

    measured = run_reduced(Moody, images)
    assert measured.status == "invalid"
    assert "other masks than the same query again" in measured.reasons[0]


def test_work_that_the_device_cannot_do_is_caught(images):
    measured = run(fakes.FakeInference, images, flops=10**12, peaks={"fake": 1e9})
    assert measured.status == "invalid"
    assert any("more than the device can do" in sentence for sentence in measured.reasons)


def test_broken_plan_is_a_status(images):
    measured = run(fakes.Breaking, images)
    assert (measured.status, measured.reasons) == ("crashed", ("ValueError: kernel not found",))


@pytest.fixture
def _short_warm_up(monkeypatch):
    monkeypatch.setitem(PROFILES, "quick", SHORT)


@pytest.mark.usefixtures("_short_warm_up")
def test_out_of_memory_ends_the_sweep(images):
    backend = fakes.FakeBackend(Runtime())
    found = list(
        measure_network(
            backend,
            backend.build(fakes.OutOfMemory, classes=2, height=8, width=8),
            images,
            plans=[fakes.PLAN],
            settings=Measuring(quantities=("forward",), batches=(32, 1, 16, 8, 64)),
        )
    )
    assert [one.condition.batch for one in found] == [1, 8, 16, 32, 64]
    assert [one.status for one in found] == ["ok", "ok", "oom", "oom", "oom"]
    assert found[2].reasons == ("batch 16 did not fit.",)
    assert found[4].reasons == ("skipped_after_oom: batch 16 did not fit.",)
    assert summarise([found[4]]).median_ms is None
    samples = found[0].samples()
    assert (samples["latency_ns"].dtype, samples["query"].dtype) == (np.int64, np.int64)


@pytest.mark.usefixtures("_short_warm_up")
def test_summaries_come_back_from_the_raw_samples_to_the_bit(images):
    backend = fakes.FakeBackend(Runtime())
    parts = [
        list(
            measure_network(
                backend,
                backend.build(fakes.FakeInference, classes=2, height=8, width=8),
                images,
                plans=[fakes.PLAN],
                settings=Measuring(batches=(1, 2)),
                process=process,
                processes=2,
            )
        )
        for process in range(2)
    ]
    for pair in zip(*parts, strict=True):
        latency = summarise(pair)
        samples = pd.concat([one.samples() for one in pair], ignore_index=True)
        assert summarise(measurements_of(latency, samples)) == latency
        assert latency.processes == 2
        assert latency.default
        assert latency.queries == len(samples) == 64
        assert latency.median_ms == np.median(samples["latency_ns"]) / 1e6
        assert latency.p90_ms == samples["latency_ns"].max() / 1e6
        assert latency.std_ms == np.std(samples["latency_ns"], ddof=1) / 1e6


def test_a_record_gathers_the_samples_of_its_processes(images):
    """A later process adds to what is there; the first replaces it, and only its own condition."""
    first, second = (run(fakes.FakeInference, images, process=process) for process in range(2))
    other = run(fakes.FakeInference, images, batch=2)
    entries, samples = gather([], other.samples(), other, "cpu")
    for part in (first, second):
        entries, samples = gather(entries, samples, part, "cpu")
    assert [(entry.batch, entry.processes) for entry in entries] == [(2, 1), (1, 2)]
    assert samples.groupby(["batch", "process"]).size().to_dict() == {
        (1, 0): 64,
        (1, 1): 64,
        (2, 0): 64,
    }
    entries, samples = gather(entries, samples, first, "cpu")
    assert [entry.processes for entry in entries] == [1, 1]
    assert len(samples) == 128


def test_the_papers_mean_is_over_its_hundred_iterations():
    samples = np.concatenate([np.full(100, 2_000_000), np.full(900, 1_000_000)])
    found = figures(samples)
    assert (found["mean_ms"], found["std_ms"], found["median_ms"]) == (2.0, 0.0, 1.0)
    assert found["p99_ms"] is not None
    assert found["p99_reason"] is None


def test_too_few_queries_have_no_p90():
    assert figures(np.arange(1, 64))["p90_ms"] is None
    assert "64 queries" in str(figures(np.arange(1, 64))["p90_reason"])
    assert figures(np.arange(1, 65) * 1_000_000)["p90_ms"] == 64
    assert "662 queries" in str(figures(np.arange(1, 65))["p99_reason"])


def test_a_published_figure_needs_all_its_processes(images):
    publish = PROFILES["publish"]

    def part(process):
        measured = run(fakes.FakeInference, images, process=process)
        latency_ns = np.full(342, 10_000_000)
        return type(measured)(
            **{**vars(measured), "profile": publish, "latency_ns": latency_ns}
            | {"steady": True, "reasons": (), "doubts": ()}
        )

    assert not summarise([part(0)]).publishable
    assert not summarise([part(0), part(1)]).publishable
    assert summarise([part(0), part(1), part(2)]).publishable
    assert publish.least(1, processes=3) == (342, pytest.approx(10 / 3))


def test_steady_is_two_per_cent_between_tens():
    assert not is_steady([100] * 19, 0.02)
    assert is_steady([100] * 10 + [102] * 10, 0.02)
    assert not is_steady([100] * 10 + [103] * 10, 0.02)
    assert not is_steady([300] * 10 + [100] * 10, 0.02)


def test_inputs_are_new_but_for_every_fourth(images):
    inputs = Inputs(images, 2, seed=1)
    seen = [inputs.batch(Inputs.of_query(query)).tobytes() for query in range(80)]
    for query in range(1, 80):
        assert (seen[query] == seen[query - 1]) == is_repeat(query)
    assert len(set(seen)) == 60
    assert inputs.batch(0).tobytes() not in seen
    assert Inputs(images, 2, seed=1).batch(5).tobytes() == inputs.batch(5).tobytes()
    with pytest.raises(DataError, match="no images"):
        Inputs(images[:0], 1, seed=0)


def test_kept_results_are_those_of_their_queries(images):
    inputs = Inputs(images, 1, seed=0)
    inference = fakes.FakeInference(inputs.batch(0), "forward")
    timed = time_queries(inference, inputs, queries=8, seconds=0, keep={2, 7})
    assert sorted(timed.kept) == [2, 7]
    for query, result in timed.kept.items():
        np.testing.assert_array_equal(result, fakes.logits_of(inputs.batch(Inputs.of_query(query))))


def test_the_harness_adds_less_than_twenty_microseconds(images):
    inference = fakes.Idle(images[:1], "forward")
    rounds, calls = [], 2000
    # The least of several rounds: this machine may be busy with other things.
    for _ in range(5):
        timed = float(np.median([time_query(inference)[0] for _ in range(calls)]))
        start = perf_counter_ns()
        for _ in range(calls):
            inference.launch()
        rounds.append(timed - (perf_counter_ns() - start) / calls)
    assert min(rounds) < 20_000


def test_unknown_profile_and_plan_are_sentences():
    with pytest.raises(UsageError, match="known are quick, publish, mlperf"):
        profile("fast")
    offered = fakes.FakeBackend.capabilities.plans
    with pytest.raises(BackendError, match="unknown plan 'graph': known are fake"):
        chosen(["graph"], offered, "cpu")
    assert chosen([], offered, "cpu") == [fakes.PLAN]


def test_a_plan_that_the_device_lacks_is_unsupported(images):
    backend = fakes.FakeBackend(Runtime())
    (found,) = measure_network(
        backend,
        backend.build(fakes.FakeInference, classes=2, height=8, width=8),
        images,
        plans=[Plan(key="graph", title="graph", devices=("cuda",))],
        settings=Measuring(quantities=("forward",)),
    )
    assert found.status == "unsupported"
    assert found.reasons == ("plan 'graph' needs cuda, not cpu.",)
