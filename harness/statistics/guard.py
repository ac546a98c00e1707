"""The guard against failures that so few subjects need not have shown.

If a network fails on 5 % of all subjects, 54 % of all samples of 12 subjects show no failure. They
show the network without its failures, and every test is sure of what it sees. No test of the seen
differences can know better (Bahadur & Savage 1956), so a difference must exceed what failures that
stayed unseen could undo.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from harness.statistics.paired import Floats
from harness.statistics.proportions import unseen_share

GUARD_RISK = 0.4
"""The risk, as a share of alpha, that more subjects fail than the guard allows for (2 % at 5 %)"""


@dataclass(frozen=True)
class Guard:
    """Could failures that these subjects do not show undo the difference?

    `share` of all subjects may fail although none of these did, and a failure costs `loss`: what
    the metric says, or the largest deviation of a subject from its pair's mean in the family if
    that is more. A difference up to `least` = share × loss is not claimed.
    """

    share: float
    loss: float
    least: float


def guard(
    largest_deviation: float, subjects: int, assumed_loss: float | None, alpha: float
) -> Guard:
    """The guard of a family; `assumed_loss` is the metric's, None if it has none.

    `largest_deviation` is over all pairs of the family: what one network's failure costs, any
    other's may cost too.
    """
    loss = max(assumed_loss or 0.0, largest_deviation)
    share = unseen_share(subjects, GUARD_RISK * alpha)
    return Guard(share, loss, share * loss)


def largest_deviation(family: list[Floats]) -> float:
    """The largest distance of a subject's difference from its pair's mean; 0 without pairs."""
    return max((float(np.abs(each - each.mean()).max()) for each in family), default=0.0)
