"""How much is measured: from a quick look to MLPerf's ten minutes."""

from __future__ import annotations

from dataclasses import dataclass
from math import ceil

from harness.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Least amounts of one measurement; `processes` fresh processes share them evenly.

    A warm-up is steady when the median of its last ten calls lies within `steady_share` of the
    median of the ten before; it ends there, or unsteady after `warm_up_limit_s`.
    """

    name: str
    publishable: bool
    processes: int
    queries: int
    seconds: float
    queries_batched: int  # at batch sizes above 1
    seconds_batched: float
    warm_up_calls: int
    warm_up_s: float
    warm_up_limit_s: float
    steady_share: float = 0.02

    def least(self, batch: int, processes: int = 1) -> tuple[int, float]:
        """Least number of queries and of seconds that each of `processes` has to contribute."""
        if batch == 1:
            return ceil(self.queries / processes), self.seconds / processes
        return ceil(self.queries_batched / processes), self.seconds_batched / processes


PROFILES = {
    profile.name: profile
    for profile in (
        # It stops warming up early: a U-Net at 256×256 takes 0.6 s a call on two cores, and a busy
        # machine is never steady. What is not steady says so.
        Profile(
            name="quick",
            publishable=False,
            processes=1,
            queries=64,
            seconds=0.0,
            queries_batched=64,
            seconds_batched=0.0,
            warm_up_calls=25,
            warm_up_s=1.0,
            warm_up_limit_s=4.0,
        ),
        Profile(
            name="publish",
            publishable=True,
            processes=3,
            queries=1024,
            seconds=10.0,
            queries_batched=64,
            seconds_batched=2.0,
            warm_up_calls=25,
            warm_up_s=1.0,
            warm_up_limit_s=60.0,
        ),
        Profile(
            name="mlperf",
            publishable=True,
            processes=1,
            queries=1024,
            seconds=600.0,
            queries_batched=64,
            seconds_batched=600.0,
            warm_up_calls=25,
            warm_up_s=1.0,
            warm_up_limit_s=60.0,
        ),
    )
}


def profile(name: str) -> Profile:
    """The profile of that name. Raises `UsageError`."""
    if name not in PROFILES:
        raise UsageError(f"unknown profile {name!r}: known are {', '.join(PROFILES)}.")
    return PROFILES[name]
