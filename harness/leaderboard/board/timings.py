"""Latency and memory of one execution plan, as the leaderboard shows them."""

from __future__ import annotations

from harness.leaderboard.board.columns import MEMORY, Value, absent, rounded, significant
from harness.leaderboard.board.seed_groups import SeedGroup
from harness.leaderboard.board.titles import STATUS_TITLES
from harness.records.schema import Latency, Quantity
from harness.records.store import StoredRecord

QUANTITIES: tuple[Quantity, ...] = ("forward", "end_to_end")
MIB = 2**20


def timed_seed(
    group: SeedGroup, plan: str, precision: str, quantity: Quantity
) -> StoredRecord | None:
    """The record behind a row's latencies: the lowest seed with that plan, never an average."""
    for stored in group.finished:
        if any(_is(entry, plan, precision, quantity) for entry in stored.record.latency):
            return stored
    return None


def timed(group: SeedGroup, plan: str, precision: str, quantity: Quantity) -> dict[int, Latency]:
    """Latency by batch size of the seed that `timed_seed` names; empty if none has the plan."""
    stored = timed_seed(group, plan, precision, quantity)
    entries = stored.record.latency if stored else []
    return {entry.batch: entry for entry in entries if _is(entry, plan, precision, quantity)}


def _is(entry: Latency, plan: str, precision: str, quantity: Quantity) -> bool:
    return (entry.plan, entry.precision, entry.quantity) == (plan, precision, quantity)


def plan_values(group: SeedGroup, plan: str, precision: str) -> tuple[dict[str, Value], str]:
    """Latency and memory columns of one plan, and why its figures are not publishable."""
    values = _memory(group, plan, precision)
    stamp = ""
    for quantity in QUANTITIES:
        entry = timed(group, plan, precision, quantity).get(1)
        values |= _latency_values(quantity, entry, group)
        if entry is not None and entry.status == "ok" and not entry.publishable:
            stamp = _stamp(entry)
    return values, stamp


_FORWARD_KEYS = ("first_call_ms", "compile_ms", "forward_mean_ms")


def _latency_values(
    quantity: Quantity, entry: Latency | None, group: SeedGroup
) -> dict[str, Value]:
    """The columns of one quantity; a measurement that was rejected shows a status, not a number."""
    keys = [f"{quantity}_p50_ms", f"{quantity}_p90_ms"]
    keys += _FORWARD_KEYS if quantity == "forward" else ()
    if entry is None:
        why = group.records[0].reason if not group.finished else None
        return {key: absent(why or "not measured at batch size 1") for key in keys}
    if entry.status != "ok":
        title = STATUS_TITLES[entry.status]
        return {key: absent(entry.reason or title, title) for key in keys}
    why = entry.reason or "unknown"
    note = f"{entry.queries} queries, {entry.profile} profile"
    values = {
        f"{quantity}_p50_ms": significant(entry.median_ms, note, why),
        f"{quantity}_p90_ms": significant(
            entry.p90_ms, note, entry.p90_reason or "too few queries"
        ),
    }
    if quantity == "forward":
        spread = f"± {entry.std_ms:.2f} ms; {note}" if entry.std_ms is not None else note
        values["first_call_ms"] = significant(entry.first_call_ms, note, why)
        values["compile_ms"] = significant(entry.compile_ms, note, "nothing is compiled in advance")
        values["forward_mean_ms"] = significant(entry.mean_ms, spread, why)
    return values


def _stamp(entry: Latency) -> str:
    if entry.profile == "quick":
        return "not publishable: quick profile"
    why = [*entry.doubts, *entry.growth] or ["too few processes or queries so far."]
    return f"not publishable: {why[0].rstrip('.')}"


def _memory(group: SeedGroup, plan: str, precision: str) -> dict[str, Value]:
    """Peaks at batch size 1 in the plan's own process if known, else of training and evaluation."""
    entries = [timed(group, plan, precision, quantity).get(1) for quantity in QUANTITIES]
    sources = [("at batch size 1", entry.memory) for entry in entries if entry]
    record = group.first
    sources.append(("of training and evaluation", record.memory))
    values = {}
    for key in MEMORY:
        found = [(note, memory[key]) for note, memory in sources if key in memory]
        known = [(note, own.bytes / MIB) for note, own in found if own.bytes is not None]
        why = next((own.reason for _, own in found if own.reason), None)
        note, mib = known[0] if known else ("", None)
        name = key.removesuffix("_bytes") + "_mib"
        values[name] = rounded(mib, 0, note, why or record.reason or "not measured")
    return values
