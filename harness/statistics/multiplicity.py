"""Many pairs at once: Holm's adjustment, and what a design can show at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.statistics.paired import least_sign_flip_p
from harness.statistics.power import smallest_detectable_dz
from harness.statistics.proportions import subjects_to_exclude

RARE_FAILURES = 0.05
"""The share of failing subjects that a claim of equivalence must have been able to see"""


def holm(p_values: Sequence[float | None], family_size: int | None = None) -> list[float | None]:
    """Holm's step-down adjusted p values, in the order given (Holm 1979).

    `family_size` is the number of declared comparisons; None stands for a test that could not be
    made, which stays None and still counts in the family, since it was declared.
    """
    size = len(p_values) if family_size is None else family_size
    known = [(p, index) for index, p in enumerate(p_values) if p is not None]
    if size < len(known):
        raise ValueError(f"a family of {size} cannot hold {len(known)} comparisons")
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for step, (p, index) in enumerate(sorted(known)):
        highest = max(highest, min(1.0, (size - step) * p))
        adjusted[index] = highest
    return adjusted


@dataclass(frozen=True)
class DesignLimit:
    """What a family of comparisons can show with its number of subjects.

    `least_p` is the smallest p of the sign-flip test, which assumes no distribution; where it times
    the family exceeds alpha, `limited` is true: no result whatever would be significant.
    `detectable_dz` is the effect in standard deviations between subjects that the t-test at the
    family's first Holm step finds with a power of 80 %. Below `equivalence_subjects` nothing is
    called equivalent: failures in 5 % of all subjects could have stayed unseen.
    """

    subjects: int
    family_size: int
    alpha: float
    least_p: float
    limited: bool
    subjects_needed: int
    equivalence_subjects: int
    detectable_dz: float | None
    sentence: str | None


def subjects_needed(family_size: int, alpha: float) -> int:
    """The fewest subjects with which the sign-flip test could reach `alpha` after Holm.

    For a claim of "p < 0.001" ask with `alpha` 0.001: 17 for 36 comparisons.
    """
    subjects = 1
    while 2.0 ** (1 - subjects) * family_size > alpha:
        subjects += 1
    return subjects


def design_limit(subjects: int, family_size: int, alpha: float = 0.05) -> DesignLimit:
    """What can be shown with `subjects` over `family_size` comparisons at `alpha`."""
    least = least_sign_flip_p(subjects)
    limited = least * family_size > alpha
    needed = subjects_needed(family_size, alpha)
    sentence = None
    if limited:
        noun = "subject" if subjects == 1 else "subjects"
        sentence = (
            f"cannot reach significance with {subjects} {noun} by design: the least attainable p "
            f"({least:.2g}) times {family_size} comparisons exceeds {alpha:g}"
        )
        # Above the exact test's reach more subjects do not help, only fewer comparisons.
        if needed > subjects:
            sentence += f"; {needed} subjects would do"
    return DesignLimit(
        subjects=subjects,
        family_size=family_size,
        alpha=alpha,
        least_p=least,
        limited=limited,
        subjects_needed=needed,
        equivalence_subjects=subjects_to_exclude(RARE_FAILURES, alpha),
        detectable_dz=smallest_detectable_dz(subjects, alpha / max(1, family_size)),
        sentence=sentence,
    )
