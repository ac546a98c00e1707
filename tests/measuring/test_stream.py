"""The deadline test on a clock of its own: no real time passes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from harness.errors import UsageError
from harness.measuring import stream
from tests.contract.fakes import FakeInference

MS = 1_000_000


class Ticking:
    """A clock that moves when somebody sleeps, works or looks at it."""

    def __init__(self):
        self.moment = 0
        self.clock = stream.Clock(now_ns=self.now, sleep=self.sleep)

    def now(self):
        self.moment += 1000
        return self.moment

    def sleep(self, seconds):
        self.moment += round(seconds * 1e9)


class Working(FakeInference):
    """Takes the planned milliseconds, call by call; the last of them for all later calls."""

    def __init__(self, images, ticking, durations_ms):
        super().__init__(images, "end_to_end")
        self.ticking = ticking
        self.durations_ms = durations_ms

    def work(self):
        place = min(self.calls - 1, len(self.durations_ms) - 1)
        self.ticking.sleep(self.durations_ms[place] / 1e3)


@pytest.fixture
def images():
    return np.random.default_rng(0).standard_normal((3, 8, 8, 1)).astype(np.float32)


def replay(images, durations_ms, arrivals_ms, **options):
    ticking = Ticking()
    inference = Working(images[:1], ticking, durations_ms)
    arrivals = np.array(arrivals_ms) * MS
    responses = stream.replay(inference, images, arrivals, clock=ticking.clock, **options)
    return responses / MS


def test_a_fast_network_answers_each_slice_in_its_own_time(images):
    np.testing.assert_allclose(replay(images, [5], [0, 30, 60]), [5, 5, 5], atol=0.1)


def test_waiting_behind_a_slow_slice_counts(images):
    found = replay(images, [70, 5, 5, 5], [0, 30, 60, 90])
    np.testing.assert_allclose(found, [70, 45, 20, 5], atol=0.1)


def test_a_stall_is_worked_off(images):
    found = replay(images, [5], [0, 30, 60, 90, 120], stall_at=1, stall_ms=60)
    np.testing.assert_allclose(found, [5, 65, 40, 15, 5], atol=0.1)


def test_run_tells_missed_deadlines_cold_start_and_recovery(images):
    ticking = Ticking()
    # Cold start 400 ms, then every call 10 ms but two slow ones far apart.
    durations = [400] + [10] * 700
    durations[100] = durations[300] = 35
    inference = Working(images[:1], ticking, durations)
    found, responses = stream.run(
        lambda: inference,
        images,
        stream.pace("interactive"),
        slices=680,
        seed=0,
        clock=ticking.clock,
    )
    assert (found.slices, found.missed, found.deadline_ms) == (680, 2, 30)
    assert found.missed_share == 2 / 680
    assert found.cold_start_ms == pytest.approx(400, abs=0.1)
    assert found.worst_ms == pytest.approx(35, abs=0.1)
    assert found.median_ms == pytest.approx(10, abs=0.1)
    assert found.p99_ms is not None
    undisturbed = responses[responses["replay"] == "undisturbed"]
    assert len(undisturbed) == 680
    assert (undisturbed["response_ns"] > 30e6).sum() == 2
    # 90 ms are lost and every slice makes 20 up: 100, 80, 60, 40, then in time.
    assert found.recovery_slices == 4


def test_a_network_that_cannot_keep_up_never_recovers(images):
    ticking = Ticking()
    found, _ = stream.run(
        lambda: Working(images[:1], ticking, [40]),
        images,
        stream.pace("interactive"),
        slices=20,
        seed=0,
        clock=ticking.clock,
    )
    assert found.missed == 20
    assert found.missed_share_upper == 1
    assert found.recovery_slices is None
    assert found.p99_ms is None
    assert "662" in (found.p99_reason or "")


@pytest.mark.parametrize(("missed", "slices"), [(0, 100), (3, 680), (50, 60)])
def test_the_bound_is_exact(missed, slices):
    bound = stream.missed_share_upper(missed, slices)
    assert binom.cdf(missed, slices, bound) == pytest.approx(0.05, rel=1e-6)


def test_arrivals_are_in_order_and_seeded():
    for pace in stream.PACES.values():
        moments = stream.arrivals_ns(pace, 64, seed=1)
        assert (np.diff(moments) >= 0).all()
        np.testing.assert_array_equal(moments, stream.arrivals_ns(pace, 64, seed=1))
        assert (moments != stream.arrivals_ns(pace, 64, seed=2)).any()
    gaps_ms = np.diff(stream.arrivals_ns(stream.PACES["bursts"], 64, seed=1)) / MS
    assert (gaps_ms > 1000).sum() == 3
    with pytest.raises(UsageError, match="did you mean 'haste'"):
        stream.pace("fast")
