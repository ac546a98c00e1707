"""All latencies of one network in one process: plans, growing batch sizes, quantities."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace

from backends import plans as execution_plans
from backends.contract import Array, Backend, Network
from backends.errors import Unsupported
from backends.plans import Plan
from harness.measuring import cost, entries, nvml
from harness.measuring.latency import Measurement, Setting, measure
from harness.measuring.memory import Meter
from harness.measuring.probes import multiplies_in_tf32, peak_flops
from harness.measuring.profiles import profile
from harness.protocol import Measuring
from harness.records.schema import Condition, Quantity


def measure_network(
    backend: Backend,
    network: Network,
    images: Array,
    *,
    plans: Sequence[Plan],
    settings: Measuring,
    seed: int = 0,
    device: str = "cpu",
    process: int = 0,
    processes: int = 1,
    deterministic: bool | None = None,
    meter: Meter | None = None,
    pulse: Callable[[], None] = lambda: None,
    begin: Callable[[Condition], bool] = lambda _: True,
) -> Iterator[Measurement]:
    """Measure a network on (n, h, w, 1) float32 images, under one condition after the other.

    `begin` is called before each measurement and may leave it out. Batches grow, so that the peaks
    of memory do; after one that did not fit, the larger ones of the same plan and quantity are not
    tried. `pulse` is called between queries. An error that loses the device ends the series.
    """
    setting = Setting(
        profile=profile(settings.profile),
        seed=seed,
        flops=_flops(network),
        peaks=peak_flops(backend, _with_peak(plans, device), device),
        process=process,
        processes=processes,
        default=execution_plans.default(backend.capabilities.plans, device).key,
        deterministic=deterministic,
        meter=meter,
        pulse=pulse,
    )
    for plan in plans:
        full: dict[Quantity, int] = {}  # the batch size that did not fit
        for condition in entries.conditions(plan.key, plan.precision, settings):
            if not begin(condition):
                continue
            if (most := full.get(condition.quantity)) is not None:
                reason = f"skipped_after_oom: batch {most} did not fit."
                yield setting.failed(condition, "oom", reason)
                continue
            # What the last batch size held must not count as this one's.
            network.release()
            gc.collect()
            found = _watched(backend, network, images, plan, condition, setting, device)
            if found.status == "oom":
                full[condition.quantity] = condition.batch
            yield found
            if found.lost_device:
                return


def _watched(
    backend: Backend,
    network: Network,
    images: Array,
    plan: Plan,
    condition: Condition,
    setting: Setting,
    device: str,
) -> Measurement:
    """One measurement; on a GPU with its state sampled meanwhile and its arithmetic probed."""
    if device not in plan.devices:
        reason = f"plan {plan.key!r} needs {' or '.join(plan.devices)}, not {device}."
        return setting.failed(condition, "unsupported", reason)
    with nvml.GpuWatch() if device == "cuda" else nullcontext() as watch:
        found = measure(network, images, condition, setting)
    if watch is None:
        return found
    state = watch.judged(found.window_ns)
    if found.status == "ok":
        reasons = (*state.reasons, *_other_arithmetic(backend, plan))
        found = replace(found, status="invalid" if reasons else "ok", reasons=reasons)
    remarks = (*found.remarks, *state.remarks)
    return replace(found, doubts=(*found.doubts, *state.doubts), remarks=remarks)


def _other_arithmetic(backend: Backend, plan: Plan) -> tuple[str, ...]:
    """What a product of matrices says against the plan's precision (measuring, 8)."""
    if plan.precision not in ("float32", "tf32"):
        return ()
    try:
        coarse = multiplies_in_tf32(backend, plan.key)
    except Unsupported:
        return ()
    if coarse == (plan.precision == "tf32"):
        return ()
    found = "TF32" if coarse else "float32"
    return (f"plan {plan.key!r} says {plan.precision} and multiplies in {found}.",)


def _with_peak(plans: Sequence[Plan], device: str) -> list[str]:
    """Plans whose rate has a peak to be held against: products of 8-bit integers are not timed."""
    return [p.key for p in plans if device in p.devices and p.precision != "int8"]


def _flops(network: Network) -> int | None:
    return cost.of(network)[0].flops
