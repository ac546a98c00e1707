"""All latencies of one network: plans, quantities and growing batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from typing import Any

import pandas as pd

from backends.contract import Array, Backend, Network, Plan, Unsupported
from harness.errors import UsageError
from harness.measuring import gates, nvml
from harness.measuring.cost import count
from harness.measuring.latency import (
    Measurement,
    Quantity,
    Setting,
    measure,
    measurements_of,
    no_samples,
    summarise,
)
from harness.measuring.probes import peak_flops
from harness.measuring.profiles import profile as find_profile
from harness.record_schema import Latency


def measure_cell(
    network: Network,
    images: Array,
    *,
    plans: Sequence[Plan],
    quantities: Sequence[Quantity],
    batches: Sequence[int],
    profile: str,
    seed: int,
    backend: Backend,
    device: str = "cpu",
    process: int = 0,
    processes: int = 1,
    note: Callable[[str], None] | None = None,
) -> tuple[list[Latency], pd.DataFrame]:
    """Measure a network on (n, h, w, 1) float32 images: summaries, and samples as latency.parquet.

    `process` is the number of this process where `processes` share the profile's queries; `pool`
    brings their results together. `note` is told the state of the GPU meanwhile. Raises
    `UsageError` for an unknown profile, `DataError` without images.
    """
    setting = Setting(
        profile=find_profile(profile),
        seed=seed,
        flops=_flops(network),
        peaks=peak_flops(backend, [plan.key for plan in plans], device),
        process=process,
        processes=processes,
    )
    measurements: list[Measurement] = []
    for plan in plans:
        for quantity in quantities:

            def at(batch: int, plan: Plan = plan, quantity: Quantity = quantity) -> Measurement:
                return measure(
                    network, images, plan=plan, quantity=quantity, batch=batch, setting=setting
                )

            with nvml.Watch() if device == "cuda" else nullcontext() as watch:
                found = sweep(at, batches)
            if watch is not None and note is not None:
                note(f"{plan.key}, {quantity}: {watch.reason or watch.summary()}")
            if watch is not None:
                found = [_invalidated(one, watch.reasons()) for one in found]
            measurements += found
    return _summaries(measurements, device)


def pool(
    parts: Sequence[tuple[Sequence[Latency], pd.DataFrame]], device: str = "cpu"
) -> tuple[list[Latency], pd.DataFrame]:
    """Bring together what several processes measured of the same cell."""
    return _summaries([one for part in parts for one in measurements_of(*part)], device)


def _summaries(
    measurements: Sequence[Measurement], device: str
) -> tuple[list[Latency], pd.DataFrame]:
    groups: dict[tuple[str, str, int], list[Measurement]] = {}
    for one in measurements:
        groups.setdefault((one.plan, one.quantity, one.batch), []).append(one)
    latencies = _judge_growth([summarise(group) for group in groups.values()], device)
    frames = [one.samples() for one in measurements if one.latency_ns is not None]
    return latencies, pd.concat(frames, ignore_index=True) if frames else no_samples()


def find_plans(backend: Backend, keys: Sequence[str], device: str) -> list[Plan]:
    """Plans by key, in that order; none means the first on the device. Raises `UsageError`."""
    known = {plan.key: plan for plan in backend.capabilities.plans if device in plan.devices}
    for key in keys:
        if key not in known:
            raise UsageError(
                f"{backend.title} has no plan {key!r} on {device}: known are {', '.join(known)}."
            )
    return [known[key] for key in keys] or list(known.values())[:1]


def _invalidated(measurement: Measurement, reasons: Sequence[str]) -> Measurement:
    if not reasons or measurement.status != "ok":
        return measurement
    return replace(measurement, status="invalid", reasons=(*measurement.reasons, *reasons))


def _flops(network: Network) -> int | None:
    try:
        return count(network.operations(), network.weight_specs()).flops
    except Unsupported:
        return None


def sweep(at: Callable[[int], Measurement], batches: Sequence[int]) -> list[Measurement]:
    """Measure growing batch sizes; after one that did not fit, the larger ones are not tried."""
    found: list[Measurement] = []
    full: Measurement | None = None
    for batch in sorted(set(batches)):
        if full is not None:
            reason = f"skipped_after_oom: batch {full.batch} did not fit."
            found.append(replace(full, batch=batch, reasons=(reason,)))
            continue
        found.append(at(batch))
        full = found[-1] if found[-1].status == "oom" else None
    return found


def _judge_growth(latencies: list[Latency], device: str) -> list[Latency]:
    """Mark batch sizes at which throughput falls.

    On a GPU that is a fault of the measurement. On a CPU a larger batch may simply leave the
    cache, so it is said and nothing more.
    """
    medians: dict[tuple[str, str], dict[int, float]] = {}
    for latency in latencies:
        if latency.median_ms is not None:
            by_batch = medians.setdefault((latency.plan, latency.quantity), {})
            by_batch[latency.batch] = latency.median_ms
    falls = {key: gates.throughput_falls(by_batch) for key, by_batch in medians.items()}
    judged = []
    for latency in latencies:
        finding = falls.get((latency.plan, latency.quantity), {}).get(latency.batch)
        # A summary that is read back from a record holds its sentence already.
        if finding is not None and finding not in (latency.reason or ""):
            update: dict[str, Any] = {"reason": " ".join(filter(None, [latency.reason, finding]))}
            if device != "cpu" and latency.status == "ok":
                update |= {"status": "invalid", "publishable": False}
            latency = latency.model_copy(update=update)
        judged.append(latency)
    return judged
