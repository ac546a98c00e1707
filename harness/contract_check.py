"""The examination of a network as a whole: its card, each implementation, and their parity."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import registry
from harness.errors import UsageError
from harness.launch.probes import Probe, ProbeFault, probes
from harness.parity import compare

SIDE = 64
EVERYONE = "all"


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One verdict: `passed`, `failed` or `skipped`, of one backend or of `all`."""

    backend: str
    what: str
    verdict: str
    detail: str = ""

    def row(self) -> dict[str, str]:
        """The verdict as a row of the table."""
        return asdict(self)


def examine(name: str, backends: Sequence[str]) -> list[CheckRow]:
    """All verdicts on the network in these backends, each examined in a process of its own.

    Raises `UsageError` and `MissingFramework`; what goes wrong in a network is a verdict.
    """
    rows = [_card(name)]
    with probes(backends) as (workers, folder):
        weights = folder / "weights.safetensors"
        place = {"name": name, "height": SIDE, "width": SIDE}
        # A network that is too broken to draw weights for is examined with its starting weights.
        with contextlib.suppress(ProbeFault):
            workers[backends[0]].ask("draw", seed=0, weights=weights, **place)
        drawn = str(weights) if weights.exists() else ""
        answers = {
            backend: worker.submit("examine", name=name, weights=drawn)
            for backend, worker in workers.items()
        }
        for backend, answer in answers.items():
            try:
                rows += [CheckRow(backend=backend, **verdict) for verdict in answer.result()]
            except ProbeFault as fault:
                rows.append(
                    CheckRow(backend=backend, what="builds", verdict="failed", detail=str(fault))
                )
        if drawn and len(backends) > 1 and not any(row.what == "builds" for row in rows):
            rows += _parity(name, backends, workers, folder)
    return rows


def _card(name: str) -> CheckRow:
    what = "card"
    try:
        card = registry.network(name).card
    except UsageError as error:
        return CheckRow(backend=EVERYONE, what=what, verdict="failed", detail=str(error))
    empty = [field for field in ("title", "summary", "citation", "url") if not getattr(card, field)]
    if empty:
        detail = f"card.py leaves {' and '.join(empty)} empty."
        return CheckRow(backend=EVERYONE, what=what, verdict="failed", detail=detail)
    return CheckRow(backend=EVERYONE, what=what, verdict="passed", detail=card.title)


def _parity(
    name: str, backends: Sequence[str], workers: dict[str, Probe], folder: Path
) -> list[CheckRow]:
    found = []
    try:
        rows = next(compare([(name, backends)], [(SIDE, SIDE)], workers, folder))
    except ProbeFault as fault:
        return [CheckRow(backend=EVERYONE, what="parity", verdict="failed", detail=str(fault))]
    for row in rows:
        where = f", first at {row.layer}" if row.layer else ""
        found.append(
            CheckRow(
                backend=f"{row.source} → {row.target}",
                what=f"parity: {row.quantity}",
                verdict="passed" if row.within else "failed",
                detail=f"differ by {row.max_abs_diff:.1e}{where}",
            )
        )
    return found
