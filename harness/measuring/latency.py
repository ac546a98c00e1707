"""Latency of a network: raw samples first, every summary recomputable from them.

Two quantities (measuring, 3): `forward` starts with images on the device and ends with logits
there; `end_to_end` starts with an image on the host and ends with its mask on the host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any

import numpy as np
import pandas as pd

from backends.contract import Array, Bytes, Inference, Network
from backends.errors import (
    BackendError,
    Unsupported,
    is_out_of_memory,
    is_sticky,
    logits_fault,
)
from harness.cores import QuotaWatch
from harness.measuring import gates
from harness.measuring.inputs import Inputs
from harness.measuring.machine import OtherLoad
from harness.measuring.memory import Meter, recorded
from harness.measuring.profiles import Profile
from harness.measuring.timer import (
    Timed,
    time_queries,
    time_query,
    time_synchronisation,
    warm_up,
)
from harness.records.schema import Condition, MemoryQuantity, Status

KEPT_MASKS = 4
NS_PER_MS = 1e6


def no_samples() -> pd.DataFrame:
    """An empty latency.parquet, with its columns and types."""
    texts = dict.fromkeys(("plan", "precision", "quantity"), "str")
    numbers = dict.fromkeys(("batch", "process", "query", "latency_ns"), "int64")
    return pd.DataFrame({k: pd.Series(dtype=t) for k, t in (texts | numbers).items()})


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Raw samples under one condition in one process, and what is known about them.

    `default` says that evaluation uses this plan; `reasons` say why the status is not ok, `doubts`
    why the figures are not to be published. With `lost_device` the process can measure no more.
    """

    condition: Condition
    profile: Profile
    default: bool = False
    process: int = 0
    status: Status = "ok"
    reasons: tuple[str, ...] = ()
    doubts: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    latency_ns: Array | None = None
    window_ns: tuple[int, int] | None = None
    steady: bool | None = None
    compile_ns: int | None = None
    first_call_ns: int | None = None
    synchronise_ns: int | None = None
    deterministic: bool | None = None
    lost_device: bool = False
    memory: Mapping[str, MemoryQuantity] = field(default_factory=dict)

    def samples(self) -> pd.DataFrame:
        """The samples in the form of latency.parquet."""
        if self.latency_ns is None:
            return no_samples()
        rows = len(self.latency_ns)
        condition = self.condition
        return no_samples().assign(
            plan=[condition.plan] * rows,
            precision=[condition.precision] * rows,
            quantity=[condition.quantity] * rows,
            batch=np.full(rows, condition.batch, np.int64),
            process=np.full(rows, self.process, np.int64),
            query=np.arange(rows, dtype=np.int64),
            latency_ns=self.latency_ns,
        )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all measurements of one network share.

    `flops` and `peaks` (FLOP/s by plan) feed the plausibility gate; without them it is left out.
    `process` is the number of this process among `processes` that share the profile's queries, and
    `deterministic` whether it keeps to deterministic operations.
    `default` is the key of the plan that evaluation uses; without `meter` memory stays unknown.
    `pulse` is called between queries.
    """

    profile: Profile
    seed: int = 0
    flops: int | None = None
    peaks: Mapping[str, float] | None = None
    process: int = 0
    processes: int = 1
    default: str = ""
    deterministic: bool | None = None
    meter: Meter | None = None
    pulse: Callable[[], None] = lambda: None

    def measurement(self, condition: Condition, **found: Any) -> Measurement:
        """A measurement of this process."""
        return Measurement(
            condition=condition,
            profile=self.profile,
            process=self.process,
            default=condition.plan == self.default,
            deterministic=self.deterministic,
            **found,
        )

    def failed(
        self, condition: Condition, status: Status, reason: str, *, lost_device: bool = False
    ) -> Measurement:
        """A measurement that has no samples."""
        return self.measurement(
            condition, status=status, reasons=(reason,), lost_device=lost_device
        )


def measure(network: Network, images: Array, condition: Condition, setting: Setting) -> Measurement:
    """Measure under one condition on (n, h, w, 1) float32 images.

    Running out of memory, an unsupported plan and a plan that breaks are results with a status
    and a reason, not errors.
    """
    try:
        inputs = Inputs(images, condition.batch, setting.seed, setting.pulse)
        return _measure(network, inputs, condition, setting)
    except Exception as error:
        if is_out_of_memory(error):
            return setting.failed(condition, "oom", f"batch {condition.batch} did not fit.")
        if isinstance(error, Unsupported):
            return setting.failed(condition, "unsupported", str(error))
        if isinstance(error, BackendError):
            raise
        # A plan of a compiler or runtime can break in any way; the others are still measured.
        sentence = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return setting.failed(condition, "crashed", sentence, lost_device=is_sticky(error))


def _measure(
    network: Network, inputs: Inputs, condition: Condition, setting: Setting
) -> Measurement:
    ready = _get_ready(network, inputs, condition, setting)
    before = ready.inference.compilations()
    with OtherLoad() as load, QuotaWatch() as quota:
        timed = _time(ready, inputs, condition, setting)
    compiled = gates.compiled(before, ready.inference.compilations())
    running = setting.meter.running() if setting.meter else {}
    median_ms = float(np.median(timed.latency_ns)) / NS_PER_MS
    work = setting.flops, condition.batch, median_ms, (setting.peaks or {}).get(condition.plan)
    kept = _kept_masks(network, inputs, ready, timed, condition)
    wrong = [compiled, gates.faster_than_the_device(*work), kept.wrong]
    findings = [one for one in (ready.hidden, gates.remembered(timed.latency_ns)) if one]
    reasons = tuple(one.sentence for one in findings if one.certain)
    reasons += tuple(reason for reason in wrong if reason)
    doubts = [load.sentence(), quota.sentence()]
    doubts.append(None if ready.steady else _not_steady(setting.profile))
    doubts += [one.sentence for one in findings if not one.certain]
    remarks = (gates.faster_than_products(*work), kept.remark)
    return setting.measurement(
        condition,
        status="invalid" if reasons else "ok",
        reasons=reasons,
        doubts=tuple(doubt for doubt in doubts if doubt),
        remarks=tuple(remark for remark in remarks if remark),
        latency_ns=timed.latency_ns,
        window_ns=timed.window_ns,
        steady=ready.steady,
        compile_ns=ready.compile_ns,
        first_call_ns=ready.first_call_ns,
        synchronise_ns=ready.synchronise_ns,
        memory=recorded(ready.peaks | running),
    )


@dataclass(frozen=True, kw_only=True)
class _Ready:
    """An inference that is compiled and warm, and what that took."""

    inference: Inference
    read: Callable[[Any], Any]
    compile_ns: int
    first_call_ns: int
    synchronise_ns: int
    steady: bool
    hidden: gates.Finding | None
    peaks: dict[str, Bytes]


def _get_ready(network: Network, inputs: Inputs, condition: Condition, setting: Setting) -> _Ready:
    """Compile, call once, warm up; memory is counted from here on."""
    meter = setting.meter
    if meter is not None:
        meter.restart()
    start = perf_counter_ns()
    inference = network.prepare(inputs.batch(0), plan=condition.plan, quantity=condition.quantity)
    compile_ns = perf_counter_ns() - start
    first_call_ns, _ = time_query(inference)
    steady = warm_up(inference, inputs, setting.profile)
    synchronise_ns = time_synchronisation(inference)
    read, hidden = np.asarray, None
    if condition.quantity == "forward":
        read = inference.logits
        hidden = gates.hidden_work(inference, read)
    return _Ready(
        inference=inference,
        read=read,
        compile_ns=compile_ns,
        first_call_ns=first_call_ns,
        synchronise_ns=synchronise_ns,
        steady=steady,
        hidden=hidden,
        peaks=meter.peaks() if meter else {},
    )


def _time(ready: _Ready, inputs: Inputs, condition: Condition, setting: Setting) -> Timed:
    """Time this process's share of the profile's queries, and keep a few of their results."""
    queries, seconds = setting.profile.least(condition.batch, setting.processes)
    random = np.random.default_rng(setting.seed)
    keep = set(random.choice(queries, min(KEPT_MASKS, queries), replace=False).tolist())
    if setting.meter is not None:
        setting.meter.restart()
    return time_queries(
        ready.inference, inputs, queries=queries, seconds=seconds, keep=keep, read=ready.read
    )


def _not_steady(profile: Profile) -> str:
    return f"not steady after {profile.warm_up_limit_s:g} s of warm-up."


@dataclass(frozen=True)
class _Kept:
    """What the results that were kept say: why the measurement is wrong, and what to remark."""

    wrong: str | None = None
    remark: str | None = None


def _kept_masks(
    network: Network, inputs: Inputs, ready: _Ready, timed: Timed, condition: Condition
) -> _Kept:
    """Compare the kept results with the framework's own float32 network on the same images.

    A plan that claims float32 must give its masks. Any other is scored itself on the test sets
    (measuring, 12): here it need only give the same answer again, and what differs is remarked.
    """
    differing = total = 0
    for query, result in timed.kept.items():
        batch = inputs.batch(Inputs.of_query(query))
        logits = network.predict(batch)
        if fault := _fault(network, result, logits, condition):
            return _Kept(fault)
        masks = _masks_of(result, condition)
        if masks is None:
            return _Kept("the end-to-end result is not a uint8 mask on the host.")
        if condition.precision == "float32":
            wrong = gates.other_masks(masks, logits)
            if wrong and _unpools(network):
                wrong = gates.other_masks(masks, logits, unpools=True)
        else:
            wrong = gates.other_answer(masks, _answer(ready, batch, condition))
            differing += int((masks != logits.argmax(-1)).sum())
            total += masks.size
        if wrong:
            return _Kept(wrong)
    if not differing:
        return _Kept()
    return _Kept(remark=f"{differing} of {total} pixels timed differ from float32's masks.")


def _fault(network: Network, result: Any, logits: Array, condition: Condition) -> str | None:
    """Why the network's logits, or those that were timed, cannot be compared."""
    shape = (len(logits), network.height, network.width, network.classes)
    timed = [np.asarray(result)] if condition.quantity == "forward" else []
    faults = (logits_fault(values, shape) for values in (logits, *timed))
    return next((fault for fault in faults if fault), None)


def _masks_of(result: Any, condition: Condition) -> Array | None:
    """Masks (n, h, w) of a result on the host; None if an end-to-end query gave something else."""
    if condition.quantity == "forward":
        return np.asarray(result).argmax(-1)
    return result if isinstance(result, np.ndarray) and result.dtype == np.uint8 else None


def _answer(ready: _Ready, batch: Array, condition: Condition) -> Array:
    """The masks that the timed query gives for a batch, asked once more."""
    ready.inference.set_images(batch)
    _, result = time_query(ready.inference)
    masks = _masks_of(ready.read(result), condition)
    return np.empty(0, np.uint8) if masks is None else masks


def _unpools(network: Network) -> bool:
    try:
        return any(operation.kind == "max_unpool" for operation in network.operations())
    except Unsupported:
        return False
