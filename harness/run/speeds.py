"""How fast networks are on this machine: by its records, by a short probe, or scaled by FLOPs."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from math import log
from typing import Any, Literal

from harness import cores, registry
from harness.jobs.environment import worker_environment, worker_threads
from harness.jobs.interpreters import interpreter
from harness.jobs.job import Job
from harness.records import store
from harness.records.schema import CellKey, Record

Source = Literal["record", "probe", "scaled", "other framework"]
# (p.) The truth lies within the figure divided and multiplied by this. How far off scaling was for
# the nine networks is in docs/reproduction.md.
SPREAD: dict[Source, float] = {
    "record": 1.3,
    "probe": 2.0,
    "scaled": 3.0,
    "other framework": 4.0,
}
PROBE_SECONDS = 6.0  # after this no third network is begun
PROBE_LIMIT_SECONDS = 60.0  # what is not answered by then stays unknown
# (p.) Of the cores, before the probe: an idle machine's load average is all but 0.
BUSY_SHARE = 0.5
# A training step against an inference, where only one of them is known.
STEP_OF_INFERENCE = 3.0
PUBLISHED_PIXELS = 256 * 256


@dataclass(frozen=True, kw_only=True)
class Speed:
    """Seconds per image of one network in one framework, at the protocol's size.

    `plans` holds what is known of execution plans other than the default's `inference_s`.
    """

    training_s: float | None = None
    inference_s: float | None = None
    source: Source = "record"
    plans: dict[str, float] = field(default_factory=dict)

    def whole(self) -> Speed:
        """The same with what is missing put at a third, or three times, what is known."""
        if self.inference_s is None and self.training_s is not None:
            return replace(self, inference_s=self.training_s / STEP_OF_INFERENCE)
        if self.training_s is None and self.inference_s is not None:
            return replace(self, training_s=self.inference_s * STEP_OF_INFERENCE)
        return self


@dataclass(kw_only=True)
class Speeds:
    """What is known of this machine, by (network, backend), and each network's FLOPs."""

    known: dict[tuple[str, str], Speed] = field(default_factory=dict)
    flops: dict[str, float] = field(default_factory=dict)
    probed: list[str] = field(default_factory=list)
    probe_reason: str = ""
    busy: str = ""

    def of(self, key: CellKey) -> Speed | None:
        """The speed of a cell's network, scaled from others if need be; None if none is known."""
        found = self.known.get((key.network, key.backend))
        if found is not None:
            return found.whole()
        own = {name: one for (name, backend), one in self.known.items() if backend == key.backend}
        if own:
            return self._scaled(key.network, own, "scaled")
        any_of = {name: one for (name, _), one in self.known.items()}
        if key.backend == "numpy" or not any_of:
            return None
        if key.network in any_of:
            return replace(any_of[key.network].whole(), source="other framework", plans={})
        return self._scaled(key.network, any_of, "other framework")

    def _scaled(self, network: str, others: dict[str, Speed], source: Source) -> Speed | None:
        known = sorted(self.flops.values())
        flops = self.flops.get(network, known[len(known) // 2] if known else None)
        whole = {name: one.whole() for name, one in others.items() if name in self.flops}
        if flops is None or not whole:
            return None
        training = law([(self.flops[name], one.training_s) for name, one in whole.items()])
        inference = law([(self.flops[name], one.inference_s) for name, one in whole.items()])
        return Speed(training_s=training(flops), inference_s=inference(flops), source=source)


def law(points: Iterable[tuple[float, float | None]]) -> Callable[[float], float]:
    """Seconds as a + b · FLOPs with the least relative error at the points, a and b ≥ 0."""
    found = [(flops, seconds) for flops, seconds in points if seconds]
    # Weights of 1/t²: a network of a millisecond counts as much as one of a second.
    w = sum(1 / t**2 for _, t in found)
    wf = sum(f / t**2 for f, t in found)
    wff = sum(f**2 / t**2 for f, t in found)
    wt = sum(1 / t for _, t in found)
    wft = sum(f / t for f, t in found)
    determinant = w * wff - wf**2
    if determinant > 1e-9 * w * wff:
        a = (wt * wff - wft * wf) / determinant
        b = (w * wft - wf * wt) / determinant
        if a >= 0 and b >= 0:
            return lambda flops: a + b * flops
    # One point, or points that no such line meets: nothing is faster than the fastest of them.
    slope = wft / wff if wff else 0.0
    least = min(t for _, t in found)
    return lambda flops: max(least, slope * flops)


def from_records(template: Job, keys: Sequence[CellKey]) -> Speeds:
    """What the records of this machine tell of these networks and frameworks."""
    speeds = Speeds()
    pixels = template.protocol.input.height * template.protocol.input.width
    for network, backend in dict.fromkeys((key.network, key.backend) for key in keys):
        published = registry.network(network).card.published
        if published is not None:
            gflops = float(published.gflops)
            speeds.flops.setdefault(network, gflops * 1e9 * pixels / PUBLISHED_PIXELS)
        found = store.records_of(template.results, template.machine, network, backend)
        # The nearest in size last, which then has the last word.
        found.sort(key=lambda record: -abs(log(pixels / _pixels(record))))
        for record in found:
            # A network's FLOPs may be unknown where its parameters are counted.
            if record.cost is not None and record.cost.flops:
                own = record.cost.height * record.cost.width
                speeds.flops[network] = record.cost.flops * pixels / own
            told = _told(record, backend, pixels / _pixels(record))
            if told.training_s or told.inference_s:
                old = speeds.known.get((network, backend), Speed())
                speeds.known[network, backend] = Speed(
                    training_s=told.training_s or old.training_s,
                    inference_s=told.inference_s or old.inference_s,
                    plans=old.plans | told.plans,
                )
    return speeds


def _pixels(record: Record) -> int:
    size = record.protocol["input"]
    return size["height"] * size["width"]


def _told(record: Record, backend: str, scale: float) -> Speed:
    """The speed that one record tells; an image of another size takes in proportion to pixels."""
    training, seconds = record.training, None
    if training is not None and training.weights_from == backend:
        rate = training.images_per_second
        images = training.epochs * training.train_slices
        seconds = (1 / rate if rate else training.seconds / images) * scale
    plans: dict[str, float] = {}
    default = None
    for entry in sorted(record.latency, key=lambda entry: -entry.batch):
        if entry.status == "ok" and entry.median_ms:
            plans[entry.plan] = entry.median_ms / 1e3 / entry.batch * scale
            default = plans[entry.plan] if entry.default else default
    return Speed(training_s=seconds, inference_s=default, plans=plans)


def probe(template: Job, keys: Sequence[CellKey], speeds: Speeds) -> None:
    """Have a worker try, of the networks that no record tells of, the median and the greatest.

    Those of one framework only; a network whose FLOPs nothing tells is tried too. Why it failed
    stands in `probe_reason`.
    """
    unknown = [key for key in keys if not _is_told(key, speeds) and key.backend != "numpy"]
    if not unknown:
        return
    backend = min((key.backend for key in unknown), key=registry.backend_names().index)
    names = list(dict.fromkeys(key.network for key in unknown if key.backend == backend))
    sized = sorted((n for n in names if n in speeds.flops), key=speeds.flops.__getitem__)
    # Not the least: what a small network takes depends on its layers more than on its FLOPs.
    ends = [sized[(len(sized) - 1) // 2], sized[-1]] if sized else []
    chosen = [*dict.fromkeys(ends), *(name for name in names if name not in sized)]
    load = os.getloadavg()[0]
    busy = load > BUSY_SHARE * cores.count()
    # Threads that wait for each other on cores that others use take ten times as long.
    threads = 1 if busy else worker_threads(template.threads)
    for one in _answers(template, backend, chosen, threads):
        if "reason" in one:
            speeds.probe_reason = one["reason"]
            continue
        name = one["network"]
        if one["flops"]:
            speeds.flops[name] = one["flops"]
        speeds.known[name, backend] = Speed(
            training_s=one["training_s"], inference_s=one["inference_s"], source="probe"
        )
        speeds.probed.append(f"{name} × {backend}")
    if speeds.probed and busy:
        speeds.busy = (
            f"others use this machine (load average {load:.1f}): tried with one thread, it looks "
            "slower than it is"
        )


def _is_told(key: CellKey, speeds: Speeds) -> bool:
    found = speeds.known.get((key.network, key.backend))
    return found is not None and found.inference_s is not None


def _answers(
    template: Job, backend: str, networks: Sequence[str], threads: int
) -> list[dict[str, Any]]:
    """What the worker said of each network in the time that it has, and why it ended, if it did."""
    protocol = template.protocol
    question = {
        "backend": backend,
        "device": template.device,
        "threads": threads,
        "networks": list(networks),
        "seconds": PROBE_SECONDS,
        "height": protocol.input.height,
        "width": protocol.input.width,
        "classes": protocol.input.classes,
        "loss": protocol.training.loss,
        "batch_size": protocol.training.batch_size,
    }
    with tempfile.TemporaryFile("w+") as said, tempfile.TemporaryFile("w+") as log:
        try:
            code = subprocess.run(
                [interpreter(backend), "-m", "harness.worker.probe", json.dumps(question)],
                env=worker_environment(backend, template.device, threads),
                stdout=said,
                stderr=log,
                timeout=PROBE_LIMIT_SECONDS,
                check=False,
            ).returncode
            reason = f"exit code {code}"
        except subprocess.TimeoutExpired:
            code, reason = 1, f"it took more than {PROBE_LIMIT_SECONDS:g} s"
        said.seek(0)
        lines = [line for line in said if line.startswith("{") and line.endswith("}\n")]
    answers = [json.loads(line) for line in lines]
    return answers + ([{"reason": reason}] if code else [])
