"""A seeded division of subjects by a ratio, alike in gestational age where it is known."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from harness.data.cases import Case
from harness.errors import UsageError

# What two, three and four numbers of a ratio mean.
SETS_OF = {
    2: ("train", "normal"),
    3: ("train", "val", "normal"),
    4: ("train", "val", "normal", "challenging"),
}


def by_ratio(
    cases: Sequence[Case], ratio: str, seed: int
) -> tuple[dict[str, str], dict[str, object]]:
    """Set of each stack by name, and the split as `dataset.json` records it.

    A subject's stacks stay together. Raises `UsageError` for a ratio that is none or asks for more
    sets than there are subjects.
    """
    shares = parse_ratio(ratio)
    ages: dict[str, list[float]] = {}
    for case in cases:
        known = ages.setdefault(case.subject, [])
        if case.gestational_age_weeks is not None:
            known.append(case.gestational_age_weeks)
    counts = _counts(shares, len(ages))
    order = _by_age({name: float(np.mean(a)) if a else None for name, a in ages.items()}, seed)
    assigned = dict(zip(order, _interleaved(counts, seed), strict=True))
    sets = {case.stack: assigned[case.subject] for case in cases}
    stratified = any(ages.values())
    record: dict[str, object] = {"by": "subject", "ratio": shares, "seed": seed}
    record |= {"stratified_by_gestational_age": stratified}
    return sets, record | {"sets": dict(sorted(assigned.items()))}


def parse_ratio(text: str) -> dict[str, float]:
    """`0.7/0.15/0.15` → share of each set. Raises `UsageError`."""
    try:
        shares = [float(part) for part in text.split("/")]
    except ValueError:
        shares = []
    whole = sum(shares)
    if len(shares) not in SETS_OF or min(shares, default=-1) < 0 or not 0 < whole < float("inf"):
        raise UsageError(
            f"--split-ratio {text!r}: write train/normal, train/val/normal or "
            "train/val/normal/challenging as shares, as in 0.7/0.15/0.15."
        )
    if abs(whole - 1) > 0.01 and abs(whole - 100) > 1:
        raise UsageError(f"--split-ratio {text!r}: the shares add up to {whole:g}, not to 1.")
    return {name: share / whole for name, share in zip(SETS_OF[len(shares)], shares, strict=True)}


def _counts(shares: dict[str, float], subjects: int) -> dict[str, int]:
    """Subjects of each set: rounded, at least one where a share is asked for, none left over."""
    wanted = {name: share for name, share in shares.items() if share > 0}
    if len(wanted) > subjects:
        raise UsageError(
            f"--split-ratio asks for {len(wanted)} sets and there "
            f"{'is 1 subject' if subjects == 1 else f'are {subjects} subjects'}; ask for fewer."
        )
    counts = {name: max(1, int(share * subjects)) for name, share in wanted.items()}
    while sum(counts.values()) != subjects:
        missing = {name: wanted[name] * subjects - counts[name] for name in counts}
        if sum(counts.values()) < subjects:
            counts[max(missing, key=lambda name: missing[name])] += 1
        else:
            larger = [name for name in counts if counts[name] > 1]
            counts[min(larger, key=lambda name: missing[name])] -= 1
    return counts


def _by_age(ages: dict[str, float | None], seed: int) -> list[str]:
    """Subjects from young to old, those of unknown age after them; equals in a seeded order."""
    drawn = np.random.default_rng(seed).permutation(sorted(ages)).tolist()
    return sorted(drawn, key=lambda name: (ages[name] is None, ages[name] or 0.0))


def _interleaved(counts: dict[str, int], seed: int) -> list[str]:
    """Names of the sets so that each is spread evenly along the order, its start drawn."""
    rng = np.random.default_rng([seed, 1])
    places = [
        ((number + rng.random()) / count, name)
        for name, count in sorted(counts.items())
        for number in range(count)
    ]
    return [name for _, name in sorted(places)]
