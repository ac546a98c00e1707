"""Latency of a network: raw samples first, every summary recomputable from them.

Two quantities (measuring, 3): `forward` starts with images on the device and ends with logits
there; `end_to_end` starts with an image on the host and ends with its mask on the host.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from time import perf_counter_ns
from typing import Any, Literal

import numpy as np
import pandas as pd

from backends.contract import Array, Network
from backends.errors import BackendError, Unsupported, is_out_of_memory
from backends.plans import Plan
from harness.cores import QuotaWatch
from harness.measuring import gates
from harness.measuring.inputs import Inputs
from harness.measuring.machine import OtherLoad
from harness.measuring.memory import Meter, recorded
from harness.measuring.profiles import Profile
from harness.measuring.timer import Timed, time_queries, time_query, warm_up
from harness.records.schema import MemoryQuantity, Status

Quantity = Literal["forward", "end_to_end"]
KEPT_MASKS = 4
NS_PER_MS = 1e6


def no_samples() -> pd.DataFrame:
    """An empty latency.parquet, with its columns and types."""
    texts = dict.fromkeys(("plan", "precision", "quantity"), "str")
    numbers = dict.fromkeys(("batch", "process", "query", "latency_ns"), "int64")
    return pd.DataFrame({k: pd.Series(dtype=t) for k, t in (texts | numbers).items()})


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """Raw samples of one (plan, quantity, batch) in one process, and what is known about them.

    `reasons` say why the status is not ok, `doubts` why the figures are not to be published.
    """

    plan: str
    precision: str
    quantity: Quantity
    batch: int
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
    memory: Mapping[str, MemoryQuantity] = field(default_factory=dict)

    def samples(self) -> pd.DataFrame:
        """The samples in the form of latency.parquet."""
        rows = 0 if self.latency_ns is None else len(self.latency_ns)
        return no_samples().assign(
            plan=[self.plan] * rows,
            precision=[self.precision] * rows,
            quantity=[self.quantity] * rows,
            batch=np.full(rows, self.batch, np.int64),
            process=np.full(rows, self.process, np.int64),
            query=np.arange(rows, dtype=np.int64),
            latency_ns=self.latency_ns,
        )


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What all measurements of one network share.

    `flops` and `peaks` (FLOP/s by plan) feed the plausibility gate; without them it is left out.
    `process` is the number of this process among `processes` that share the profile's queries.
    `default` is the key of the plan that evaluation uses; without `meter` memory stays unknown.
    """

    profile: Profile
    seed: int = 0
    flops: int | None = None
    peaks: Mapping[str, float] | None = None
    process: int = 0
    processes: int = 1
    default: str = ""
    meter: Meter | None = None


def measure(
    network: Network,
    images: Array,
    *,
    plan: Plan,
    quantity: Quantity,
    batch: int,
    setting: Setting,
) -> Measurement:
    """Measure one plan, quantity and batch size on (n, h, w, 1) float32 images.

    Running out of memory, an unsupported plan and a plan that breaks are results with a status
    and a reason, not errors.
    """
    what: dict[str, Any] = {
        "plan": plan.key,
        "precision": plan.precision,
        "quantity": quantity,
        "batch": batch,
        "profile": setting.profile,
        "process": setting.process,
        "default": plan.key == setting.default,
    }
    try:
        return _measure(network, Inputs(images, batch, setting.seed), setting, what)
    except Exception as error:
        if is_out_of_memory(error):
            return Measurement(**what, status="oom", reasons=(f"batch {batch} did not fit.",))
        if isinstance(error, Unsupported):
            return Measurement(**what, status="unsupported", reasons=(str(error),))
        if isinstance(error, BackendError):
            raise
        # A plan of a compiler or runtime can break in any way; the others are still measured.
        sentence = f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
        return Measurement(**what, status="crashed", reasons=(sentence,))


def _measure(
    network: Network, inputs: Inputs, setting: Setting, what: dict[str, Any]
) -> Measurement:
    profile, batch, meter = setting.profile, what["batch"], setting.meter
    if meter is not None:
        meter.restart()
    start = perf_counter_ns()
    inference = network.prepare(inputs.batch(0), plan=what["plan"], quantity=what["quantity"])
    compile_ns = perf_counter_ns() - start
    first_call_ns, _ = time_query(inference)
    steady = warm_up(inference, inputs, profile)
    read = inference.logits if what["quantity"] == "forward" else np.asarray
    hidden = gates.hidden_work(inference, read) if what["quantity"] == "forward" else None
    queries, seconds = profile.least(batch, setting.processes)
    random = np.random.default_rng(setting.seed)
    memory = {}
    if meter is not None:
        memory = meter.peaks()
        meter.restart()
    before = inference.compilations()
    with OtherLoad() as load, QuotaWatch() as quota:
        timed = time_queries(
            inference,
            inputs,
            queries=queries,
            seconds=seconds,
            keep=set(random.choice(queries, min(KEPT_MASKS, queries), replace=False).tolist()),
            read=read,
        )
    compiled = gates.compiled(before, inference.compilations())
    if meter is not None:
        memory |= meter.running()
    median_ms = float(np.median(timed.latency_ns)) / NS_PER_MS
    peak = (setting.peaks or {}).get(what["plan"])
    wrong = [
        compiled,
        gates.faster_than_the_device(setting.flops, batch, median_ms, peak),
        _kept_masks(network, inputs, timed, what),
    ]
    remark = gates.faster_than_products(setting.flops, batch, median_ms, peak)
    findings = [one for one in (hidden, gates.remembered(timed.latency_ns)) if one]
    reasons = tuple(one.sentence for one in findings if one.certain)
    reasons += tuple(reason for reason in wrong if reason)
    doubts = [load.sentence(), quota.sentence(), None if steady else _not_steady(profile)]
    doubts += [one.sentence for one in findings if not one.certain]
    return Measurement(
        **what,
        status="invalid" if reasons else "ok",
        reasons=reasons,
        doubts=tuple(doubt for doubt in doubts if doubt),
        remarks=(remark,) if remark else (),
        latency_ns=timed.latency_ns,
        window_ns=timed.window_ns,
        steady=steady,
        compile_ns=compile_ns,
        first_call_ns=first_call_ns,
        memory=recorded(memory),
    )


def _not_steady(profile: Profile) -> str:
    return f"not steady after {profile.warm_up_limit_s:g} s of warm-up."


def _kept_masks(network: Network, inputs: Inputs, timed: Timed, what: dict[str, Any]) -> str | None:
    """Compare the kept results with what the evaluation gives for the same images."""
    for query, result in timed.kept.items():
        if what["quantity"] == "forward":
            masks = np.asarray(result).argmax(-1)
        elif isinstance(result, np.ndarray) and result.dtype == np.uint8:
            masks = result
        else:
            return "the end-to-end result is no uint8 mask on the host."
        logits = network.predict(inputs.batch(Inputs.of_query(query)))
        finding = gates.other_masks(masks, logits, what["precision"])
        if finding and _unpools(network):
            finding = gates.other_masks(masks, logits, what["precision"], unpools=True)
        if finding:
            return finding
    return None


def _unpools(network: Network) -> bool:
    try:
        return any(operation.kind == "max_unpool" for operation in network.operations())
    except Unsupported:
        return False
