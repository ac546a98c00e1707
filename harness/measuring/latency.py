"""Latency of a network: raw samples first, every summary recomputable from them.

Two quantities (measuring, 3): `forward` starts with images on the device and ends with logits
there; `end_to_end` starts with an image on the host and ends with its mask on the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from typing import Any, Literal

import numpy as np
import pandas as pd

from backends.contract import (
    Array,
    BackendError,
    Network,
    Plan,
    Unsupported,
    is_out_of_memory,
)
from harness.measuring import gates
from harness.measuring.inputs import Inputs
from harness.measuring.machine import OtherLoad
from harness.measuring.profiles import Profile
from harness.measuring.profiles import profile as find_profile
from harness.measuring.timer import Timed, time_queries, time_query, warm_up
from harness.record_schema import Latency, Status
from harness.statistics.percentiles import early_stopping

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
    """Raw samples of one (plan, quantity, batch) and what is known about them."""

    plan: str
    precision: str
    quantity: Quantity
    batch: int
    profile: Profile
    process: int = 0
    status: Status = "ok"
    reasons: tuple[str, ...] = ()
    latency_ns: Array | None = None
    steady: bool | None = None
    compile_ns: int | None = None
    first_call_ns: int | None = None

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
    """

    profile: Profile
    seed: int = 0
    flops: int | None = None
    peaks: Mapping[str, float] | None = None
    process: int = 0
    processes: int = 1


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
    profile, batch = setting.profile, what["batch"]
    start = perf_counter_ns()
    inference = network.prepare(inputs.batch(0), plan=what["plan"], quantity=what["quantity"])
    compile_ns = perf_counter_ns() - start
    first_call_ns, _ = time_query(inference)
    steady = warm_up(inference, inputs, profile)
    read = inference.logits if what["quantity"] == "forward" else np.asarray
    hidden = gates.hidden_work(inference, read) if what["quantity"] == "forward" else None
    queries, seconds = profile.least(batch, setting.processes)
    random = np.random.default_rng(setting.seed)
    before = inference.compilations()
    with OtherLoad() as load:
        timed = time_queries(
            inference,
            inputs,
            queries=queries,
            seconds=seconds,
            keep=set(random.choice(queries, min(KEPT_MASKS, queries), replace=False).tolist()),
            read=read,
        )
    median_ms = float(np.median(timed.latency_ns)) / NS_PER_MS
    peak = (setting.peaks or {}).get(what["plan"])
    invalid = [
        hidden,
        gates.compiled(before, inference.compilations()),
        gates.remembered(timed.latency_ns),
        gates.faster_than_the_device(setting.flops, batch, median_ms, peak),
        _kept_masks(network, inputs, timed, what),
    ]
    notes = [load.sentence(), None if steady else _not_steady(profile)]
    wrong = [reason for reason in invalid if reason]
    return Measurement(
        **what,
        status="invalid" if wrong else "ok",
        reasons=tuple(wrong + [note for note in notes if note]),
        latency_ns=timed.latency_ns,
        steady=steady,
        compile_ns=compile_ns,
        first_call_ns=first_call_ns,
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
        if finding:
            return finding
    return None


def summarise(measurements: Sequence[Measurement]) -> Latency:
    """Summary of one (plan, quantity, batch), measured in one process or in several.

    Median, mean and standard deviation (n − 1) are those of the pooled samples in order of
    process and query; p90 is MLPerf's early-stopping estimate. Compile time and first call are
    those of the first process.
    """
    first = measurements[0]
    failed = [m for m in measurements if m.status != "ok"]
    reasons = dict.fromkeys(reason for m in measurements for reason in m.reasons)
    latency = Latency(
        plan=first.plan,
        precision=first.precision,
        quantity=first.quantity,
        batch=first.batch,
        profile=first.profile.name,
        status=failed[0].status if failed else "ok",
        reason=" ".join(reasons) or None,
    )
    samples = [m.latency_ns for m in measurements if m.latency_ns is not None]
    if len(samples) < len(measurements):
        return latency
    complete = _complete(first.profile, first.batch, samples)
    steady = all(m.steady for m in measurements)
    return latency.model_copy(
        update={
            **figures(np.concatenate(samples)),
            "first_call_ms": _ms(first.first_call_ns),
            "compile_ms": _ms(first.compile_ns),
            "steady": steady,
            "publishable": complete and steady and not reasons and first.profile.publishable,
        }
    )


def measurements_of(latencies: Sequence[Latency], samples: pd.DataFrame) -> list[Measurement]:
    """Measurements read back from a record's summaries and raw samples, one a process."""
    found = []
    for latency in latencies:
        chosen = samples[
            (samples["plan"] == latency.plan)
            & (samples["quantity"] == latency.quantity)
            & (samples["batch"] == latency.batch)
        ]
        by_process: list[tuple[Any, Array | None]] = [
            (process, rows["latency_ns"].to_numpy()) for process, rows in chosen.groupby("process")
        ]
        for process, latency_ns in by_process or [(0, None)]:
            found.append(
                Measurement(
                    plan=latency.plan,
                    precision=latency.precision,
                    quantity=latency.quantity,
                    batch=latency.batch,
                    profile=find_profile(latency.profile),
                    process=int(process),
                    status=latency.status,
                    reasons=(latency.reason,) if latency.reason else (),
                    latency_ns=latency_ns,
                    steady=latency.steady,
                    compile_ns=_ns(latency.compile_ms),
                    first_call_ns=_ns(latency.first_call_ms),
                )
            )
    return found


def figures(latency_ns: Array) -> dict[str, float | int | None]:
    """The figures of int64 nanosecond samples, in milliseconds; the same samples, the same bits."""
    p90 = early_stopping(latency_ns, percentile=0.9, confidence=0.99).value
    return {
        "queries": len(latency_ns),
        "median_ms": float(np.median(latency_ns)) / NS_PER_MS,
        "p90_ms": None if p90 is None else p90 / NS_PER_MS,
        "mean_ms": float(np.mean(latency_ns)) / NS_PER_MS,
        "std_ms": float(np.std(latency_ns, ddof=1)) / NS_PER_MS if len(latency_ns) > 1 else None,
    }


def _complete(profile: Profile, batch: int, samples: Sequence[Array]) -> bool:
    """Whether enough queries, seconds and processes stand behind a published figure."""
    queries, seconds = profile.least(batch)
    return (
        len(samples) >= profile.processes
        and sum(map(len, samples)) >= queries
        and sum(int(s.sum()) for s in samples) >= seconds * 1e9
    )


def _ms(nanoseconds: int | None) -> float | None:
    return None if nanoseconds is None else nanoseconds / NS_PER_MS


def _ns(milliseconds: float | None) -> int | None:
    return None if milliseconds is None else round(milliseconds * NS_PER_MS)
