"""The examination of a network as a whole: its card, each implementation, and their parity."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass

from harness import registry
from harness.checks.clients import WorkerFault, clients
from harness.checks.parity import Comparing, Place
from harness.checks.tolerances import ParityRow
from harness.errors import UsageError

SIDE = 64
EVERYONE = "all"


@dataclass(frozen=True, kw_only=True)
class CheckRow:
    """One finding: `passed`, `failed` or `skipped`, of one backend or of `all`."""

    backend: str
    what: str
    verdict: str
    detail: str = ""

    def row(self) -> dict[str, str]:
        """The finding as a row of the table."""
        return asdict(self)


def examine(name: str, backends: Sequence[str]) -> list[CheckRow]:
    """All findings on the network in these backends, each examined in a process of its own.

    Raises `UsageError` and `MissingFramework`; what goes wrong in a network is a finding.
    """
    rows = [_card(name)]
    with clients(backends) as (workers, folder):
        place = Place(network=name, height=SIDE, width=SIDE, folder=folder)
        # Parity asks first, so that the examination finds networks and steps compiled.
        comparing = Comparing(place, list(workers.values()), seed=0, training=len(backends) > 1)
        drawn, broken = str(comparing.weights), ""
        try:
            comparing.drawn.result()
        except WorkerFault as fault:
            # A network too broken to draw weights for is examined with its starting weights.
            drawn, broken = "", str(fault)
        answers = {
            backend: worker.submit("examine", name=name, weights=drawn)
            for backend, worker in workers.items()
        }
        for backend, answer in answers.items():
            try:
                rows += [CheckRow(backend=backend, **finding) for finding in answer.result()]
            except WorkerFault as fault:
                rows.append(
                    CheckRow(backend=backend, what="builds", verdict="failed", detail=str(fault))
                )
        if broken and any(row.verdict == "failed" for row in rows):
            detail = "not compared: see what failed above."
            rows.append(CheckRow(backend=EVERYONE, what="parity", verdict="skipped", detail=detail))
        else:
            rows += _parity(comparing.finish(), broken)
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


def _parity(compared: Sequence[ParityRow], broken: str) -> list[CheckRow]:
    """What was compared, or one row that says why nothing was."""
    if broken:
        return [CheckRow(backend=EVERYONE, what="parity", verdict="failed", detail=broken)]
    if not compared:
        detail = "only one framework implements it: there is nothing to compare."
        return [CheckRow(backend=EVERYONE, what="parity", verdict="skipped", detail=detail)]
    found = []
    for row in compared:
        where = f", first at {row.layer}" if row.layer else ""
        found.append(
            CheckRow(
                backend=f"{row.source} → {row.target}",
                what=f"parity: {row.quantity}",
                verdict="passed" if row.within else "failed",
                detail=row.reason + where
                if row.reason
                else f"differ by {row.max_abs_diff:.1e}{where}",
            )
        )
    return found
