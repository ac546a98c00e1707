"""Ranks of networks, how sure they are, and the tiers that networks share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.statistics.hierarchy import resampled_over_seeds
from harness.statistics.paired import Floats, mid_ranks

RANK_RESAMPLES = 1_000


@dataclass(frozen=True)
class Ranking:
    """Ranks in the order of the columns given; 1 is best.

    `chances` (networks, ranks) is the share of resamples with each rank (ties shared), `first` that
    of rank 1, `stability` the mean Kendall τ between the ranking and the resampled ones. `by_ranks`
    ranks each subject first and then the mean of these ranks; `agreement` is Kendall's τ between
    the two ways, a check and not a second result.
    """

    rank: NDArray[np.int64]
    chances: Floats
    first: Floats
    stability: float | None
    by_ranks: NDArray[np.int64]
    agreement: float | None


def competition_ranks(scores: Floats) -> NDArray[np.int64]:
    """Ranks along the last axis, 1 for the highest; ties share the better rank (1, 2, 2, 4)."""
    # Rounded, so that two columns that are equal but for the order of summation tie.
    rounded = np.round(scores, 12)
    return 1 + (rounded[..., None, :] > rounded[..., :, None]).sum(axis=-1)


def kendall_tau(first: Floats, second: Floats) -> Floats:
    """Kendall's τ-b along the last axis (leading axes broadcast); NaN where all values tie."""
    a = np.sign(np.asarray(first)[..., :, None] - np.asarray(first)[..., None, :])
    b = np.sign(np.asarray(second)[..., :, None] - np.asarray(second)[..., None, :])
    concordance = (a * b).sum(axis=(-2, -1))
    untied = (a**2).sum(axis=(-2, -1)) * (b**2).sum(axis=(-2, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(untied > 0, concordance / np.sqrt(untied), np.nan)


def rank_chances(resampled: NDArray[np.int64]) -> Floats:
    """Shares of (resamples, networks) in which a network holds a rank: (networks, ranks).

    k networks that tie for a rank hold it and the k − 1 after it, each a k-th of the time, so that
    every network and every rank adds up to 1.
    """
    tied = (resampled[:, :, None] == resampled[:, None, :]).sum(axis=-1)[..., None]
    places = np.arange(1, resampled.shape[1] + 1)
    first = resampled[..., None]
    held = (places >= first) & (places < first + tied)
    return (held / tied).mean(axis=0)


def ranking(
    scores: Sequence[Floats],
    *,
    higher_is_better: bool,
    resamples: int = RANK_RESAMPLES,
    seed: int = 0,
) -> Ranking:
    """Mean over seeds and subjects, then rank; `scores` holds (subjects, seeds) of each network.

    Subjects are resampled, and seeds of the networks that have three or more.
    """
    sign = 1.0 if higher_is_better else -1.0
    goodness = [sign * each for each in scores]
    by_subject = np.stack([each.mean(axis=1) for each in goodness], axis=1)
    rank = competition_ranks(by_subject.mean(axis=0))
    resampled = competition_ranks(resampled_over_seeds(goodness, resamples, seed))
    chances = rank_chances(resampled)
    taus = kendall_tau(rank.astype(np.float64), resampled.astype(np.float64))
    taus = taus[np.isfinite(taus)]
    each = np.stack([mid_ranks(np.round(-row, 12)) for row in by_subject])
    by_ranks = competition_ranks(-each.mean(axis=0))
    agreement = kendall_tau(rank.astype(np.float64), by_ranks.astype(np.float64))
    return Ranking(
        rank=rank,
        chances=chances,
        first=chances[:, 0],
        stability=float(taus.mean()) if taus.size else None,
        by_ranks=by_ranks,
        agreement=float(agreement) if np.isfinite(agreement) else None,
    )


def rank_bounds(
    names: Sequence[str], ahead: Sequence[tuple[str, str]]
) -> dict[str, tuple[int, int]]:
    """The ranks that the verdicts leave open: `ahead` holds (better, worse) for each decided pair.

    A network has rank 1 + those that are better at least, and n − those that are worse at most.
    All intervals hold together wherever no verdict is wrong, hence at the confidence of the family;
    percentiles of resampled ranks do not (docs/statistics.md).
    """
    return {
        name: (
            1 + sum(worse == name for _, worse in ahead),
            len(names) - sum(better == name for better, _ in ahead),
        )
        for name in names
    }


def tiers(order: Sequence[str], separated: set[frozenset[str]]) -> dict[str, tuple[int, ...]]:
    """The tiers of each network; two networks share a tier exactly where they are not separated.

    `order` holds the names from best to worst, `separated` the pairs that Holm tells apart. "Not
    separated" is not transitive (A–B and B–C may be undecided while A beats C), so a network may
    stand in several tiers: they are the largest sets with no separated pair (the compact display
    of Piepho 2004), numbered from the one with the best members.
    """
    place = {name: index for index, name in enumerate(order)}
    found: list[list[str]] = []

    def grow(members: list[str], candidates: list[str], seen: list[str]) -> None:
        # Bron & Kerbosch 1973: every set that cannot be enlarged, each once.
        if not candidates and not seen:
            found.append(members)
        while candidates:
            name = candidates[0]

            def fits(other: str, name: str = name) -> bool:
                return other != name and frozenset((name, other)) not in separated

            grow([*members, name], [c for c in candidates if fits(c)], list(filter(fits, seen)))
            candidates, seen = candidates[1:], [*seen, name]

    grow([], list(order), [])
    found.sort(key=lambda members: sorted(place[name] for name in members))
    return {
        name: tuple(1 + index for index, members in enumerate(found) if name in members)
        for name in order
    }
