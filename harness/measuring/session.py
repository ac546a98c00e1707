"""All latencies of one network in one process: plans, growing batch sizes, quantities."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from itertools import product

from backends.contract import (
    Array,
    Backend,
    Network,
)
from backends.errors import Unsupported
from backends.plans import Plan, require
from harness.measuring import nvml
from harness.measuring.cost import count
from harness.measuring.latency import Measurement, Quantity, Setting, measure
from harness.measuring.memory import Meter
from harness.measuring.probes import multiplies_in_tf32, peak_flops
from harness.measuring.profiles import profile as find_profile

# What a caller is told before a measurement begins, and asked whether it is wanted.
What = tuple[Plan, Quantity, int]


def measure_cell(
    backend: Backend,
    network: Network,
    images: Array,
    *,
    plans: Sequence[Plan],
    quantities: Sequence[Quantity],
    batches: Iterable[int],
    profile: str,
    seed: int = 0,
    device: str = "cpu",
    process: int = 0,
    processes: int = 1,
    meter: Meter | None = None,
    begin: Callable[[Plan, Quantity, int], bool] = lambda *_: True,
) -> Iterator[Measurement]:
    """Measure a network on (n, h, w, 1) float32 images, one plan, batch and quantity at a time.

    `begin` is called before each measurement and may leave it out. Batches grow, so that the peaks
    of memory do; after one that did not fit, the larger ones of the same plan and quantity are not
    tried. Raises `UsageError` for an unknown profile.
    """
    setting = Setting(
        profile=find_profile(profile),
        seed=seed,
        flops=_flops(network),
        peaks=peak_flops(backend, [plan.key for plan in plans if device in plan.devices], device),
        process=process,
        processes=processes,
        default=default_plan(backend, device).key,
        meter=meter,
    )
    for plan in plans:
        full: dict[Quantity, Measurement] = {}
        for batch, quantity in product(sorted(set(batches)), quantities):
            if not begin(plan, quantity, batch):
                continue
            if quantity in full:
                yield _skipped(full[quantity], batch)
                continue
            found = _watched(backend, network, images, (plan, quantity, batch), setting, device)
            if found.status == "oom":
                full[quantity] = found
            yield found


def _skipped(full: Measurement, batch: int) -> Measurement:
    return replace(
        full, batch=batch, reasons=(f"skipped_after_oom: batch {full.batch} did not fit.",)
    )


def _watched(
    backend: Backend,
    network: Network,
    images: Array,
    what: What,
    setting: Setting,
    device: str,
) -> Measurement:
    """One measurement; on a GPU with its state sampled meanwhile and its arithmetic probed."""
    plan, quantity, batch = what
    if device not in plan.devices:
        return Measurement(
            plan=plan.key,
            precision=plan.precision,
            quantity=quantity,
            batch=batch,
            profile=setting.profile,
            process=setting.process,
            default=plan.key == setting.default,
            status="unsupported",
            reasons=(f"plan {plan.key!r} needs {' or '.join(plan.devices)}, not {device}.",),
        )
    with nvml.Watch() if device == "cuda" else nullcontext() as watch:
        found = measure(network, images, plan=plan, quantity=quantity, batch=batch, setting=setting)
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


def default_plan(backend: Backend, device: str) -> Plan:
    """The first plan on the device, which evaluation uses."""
    return next(plan for plan in backend.capabilities.plans if device in plan.devices)


def find_plans(backend: Backend, keys: Sequence[str], device: str) -> list[Plan]:
    """Plans by key, in that order; none means the default. Raises `BackendError`.

    A plan that the device lacks is among them: measuring it is `unsupported`.
    """
    offered = backend.capabilities.plans
    return [require(key, offered) for key in keys] or [default_plan(backend, device)]


def _flops(network: Network) -> int | None:
    try:
        return count(network.operations(), network.weight_specs()).flops
    except Unsupported:
        return None
