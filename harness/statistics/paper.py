"""The paper's own test, under its own name: it is shown beside ours and decides nothing."""

from __future__ import annotations

from dataclasses import dataclass

from harness.statistics.paired import Floats, paired_t, why_undefined

PAPER_TEST = "paired t-test over slices"
PAPER_LABEL = "as in the paper; treats slices as independent"
PAPER_ALPHA = 0.001
PAPER_SETS = ("normal", "challenging")


@dataclass(frozen=True)
class PaperTest:
    """Paired t over the slices of both test sets; `significant` at the paper's 0.001, unadjusted.

    Slices of one stack resemble each other, so this p is too small (docs/statistics.md).
    """

    metric: str
    slices: int
    difference: float | None
    t: float | None
    df: int | None
    p: float | None
    significant: bool | None
    reason: str | None
    name: str = PAPER_TEST
    label: str = PAPER_LABEL


def paper_test(differences: Floats, metric: str) -> PaperTest:
    """The paper's test of slice-wise differences (slices,), both test sets pooled."""
    count = len(differences)
    reason = "fewer than two slices" if count < 2 else why_undefined(differences)
    if reason:
        reason = reason.replace("subject", "slice")
        return PaperTest(metric, count, None, None, None, None, None, reason)
    test = paired_t(differences)
    significant = test.p < PAPER_ALPHA
    return PaperTest(metric, count, test.difference, test.t, test.df, test.p, significant, None)
