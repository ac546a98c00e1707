"""What a number of subjects can show, and how many would decide."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.special import nctdtr

from harness.statistics.guard import GUARD_RISK
from harness.statistics.paired import least_sign_flip_p, t_quantile
from harness.statistics.proportions import unseen_share

POWER = 0.8
MOST_SUBJECTS = 10_000


def t_power(effect: float, subjects: int, alpha: float) -> float:
    """Power of the two-sided paired t-test at `alpha` for an effect in standard deviations.

    Significance in the wrong direction is left out: it is rarer than alpha / 2, and SciPy gives NaN
    there for some large effects.
    """
    df = subjects - 1
    if effect * np.sqrt(subjects) > 30 + t_quantile(df, 1 - alpha):
        return 1.0
    return float(1 - nctdtr(df, effect * np.sqrt(subjects), t_quantile(df, 1 - alpha)))


def smallest_detectable_dz(subjects: int, alpha: float, power: float = POWER) -> float | None:
    """The d_z that a two-sided paired t-test at `alpha` detects with `power`; None below two."""
    if subjects < 2:
        return None
    low, high = 0.0, 1.0
    while t_power(high, subjects, alpha) < power:  # hundreds with two subjects, a large family
        low, high = high, 2 * high
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if t_power(middle, subjects, alpha) < power else (low, middle)
    return high


def subjects_to_decide(
    difference: float,
    spread: float,
    *,
    family_size: int,
    alpha: float,
    loss: float,
    power: float = POWER,
) -> int | None:
    """How many subjects would call a pair whose true difference is the one seen; None above 10,000.

    `difference`, `spread` (standard deviation between subjects) and `loss` (of a failed subject)
    are in one unit. It takes the t-test at Holm's first step, the least p of the sign-flip test and
    the guard against unseen failures.
    """
    if spread <= 0 or difference == 0:
        return None
    level, effect = alpha / max(1, family_size), abs(difference) / spread

    def enough(subjects: int) -> bool:
        return (
            least_sign_flip_p(subjects) <= level
            and unseen_share(subjects, GUARD_RISK * alpha) * loss < abs(difference)
            and t_power(effect, subjects, level) >= power
        )

    return _least(enough)


def _least(enough: Callable[[int], bool]) -> int | None:
    low, high = 2, 4
    while not enough(high):
        low, high = high, 2 * high
        if high > MOST_SUBJECTS:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return low if enough(low) else high
