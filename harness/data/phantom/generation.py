"""Makes a phantom data set: the same seed gives the same bytes on any number of processes."""

from __future__ import annotations

import ctypes
import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np

from harness import cores
from harness.data.catalogue import Dataset
from harness.data.description import DatasetMeta
from harness.data.orientation import orientation_name
from harness.data.phantom.acquisition import Receiver, acquire, draw_geometry, draw_motion
from harness.data.phantom.atlas import LabelMap
from harness.data.phantom.contrast import randomise
from harness.data.phantom.degradation import NAMES, SWEEPABLE, Strengths
from harness.data.phantom.presets import LEAST_LEVELS, Preset, spread
from harness.data.phantom.scene import Scene
from harness.data.writer import DatasetWriter, Stack
from harness.errors import UsageError

LICENCE = "CC0-1.0 (computed; shows nobody)"
# With label maps every third subject has a computed brain all the same: an atlas of a few ages
# holds a few shapes.
BRAINS_EVERY = 3
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class StackJob:
    """All that decides one stack; `sweep` replaces strengths that were drawn."""

    preset: Preset
    seed: int
    set_name: str
    subject: int
    run: int
    slices: int
    direction: int
    sweep: tuple[tuple[str, float], ...] = ()
    brains: tuple[LabelMap, ...] = ()


@lru_cache(maxsize=2)
def draw_subject(
    seed: int, subject: int, brains: tuple[LabelMap, ...] = ()
) -> tuple[Scene, Receiver]:
    """One subject of a data set, by seed and number, with a brain of the label maps if any."""
    rng = np.random.default_rng([seed, subject])
    scene = Scene.draw(rng, brains)
    return scene, Receiver.draw(scene, rng)


def draw_strengths(
    set_name: str, slices: int, rng: np.random.Generator, most: float = 0.3
) -> list[Strengths]:
    """Harm to each slice: seldom and `most` at most, or in challenging sets one to three kinds."""
    kinds = len(SWEEPABLE)
    if set_name == "challenging":
        main = np.zeros(kinds)
        main[rng.choice(kinds, size=rng.integers(1, 4), replace=False)] = 1.0
        base = main * rng.uniform(0.35, 0.9, kinds)
        drawn = base * rng.uniform(0.5, 1.25, (slices, kinds))
        drawn += (rng.random((slices, kinds)) < 0.08) * rng.uniform(0.2, 0.7, (slices, kinds))
    else:
        drawn = (rng.random((slices, kinds)) < 0.1) * rng.uniform(0.0, most, (slices, kinds))
        drawn[:, SWEEPABLE.index("bias")] += 0.25 * rng.random()
    drawn = np.clip(drawn, 0, 1)
    return [Strengths(**dict(zip(SWEEPABLE, map(float, row), strict=True))) for row in drawn]


def make_stack(job: StackJob) -> Stack:
    """Compute one stack."""
    scene, receiver = draw_subject(job.seed, job.subject, job.brains)
    rng = np.random.default_rng([job.seed, job.subject, job.run])
    preset = job.preset
    thickness = float(rng.uniform(*preset.thickness_mm))
    spacing = float(rng.uniform(*preset.spacing_mm))
    challenging = job.set_name == "challenging"
    geometry = draw_geometry(
        scene,
        rng,
        direction=job.direction,
        slices=job.slices,
        matrix=preset.matrix,
        spacing_mm=spacing,
        thickness_mm=thickness,
        distance_mm=None if preset.gap_factor is None else preset.gap_factor * thickness,
        off_end=float(rng.uniform(0, 0.8)) if challenging else 0.0,
        coverage=float(rng.uniform(*preset.coverage)),
    )
    if preset.contrast:
        scene = replace(scene, signals=randomise(scene.signals, preset.contrast, rng))
    restlessness = rng.uniform(1.5, 3.0) if challenging else rng.uniform(0.3, 1.2)
    motions = draw_motion(job.slices, rng, restlessness=restlessness)
    strengths = draw_strengths(job.set_name, job.slices, rng, preset.harm)
    if job.sweep:
        strengths = [Strengths(**dict(job.sweep)) for _ in strengths]
    images, masks = acquire(scene, geometry, receiver, motions, strengths, rng)
    strengths = _with_edge(strengths, masks.sum(axis=(1, 2)))
    subject = f"sub-{job.subject:03d}"
    sweep = "".join(f"_{name}-{value:g}" for name, value in job.sweep)
    return Stack(
        name=f"{subject}_run-{job.run}{sweep}",
        subject=subject,
        set_name=job.set_name,
        images=images,
        masks=masks,
        spacing_mm=(spacing, spacing),
        thickness_mm=thickness,
        affine=geometry.affine,
        orientation=orientation_name(geometry.slice_step),
        gestational_age_weeks=scene.gestational_age_weeks,
        extra={f"strength_{n}": [getattr(s, n) for s in strengths] for n in NAMES},
    )


def _with_edge(strengths: list[Strengths], areas: np.ndarray) -> list[Strengths]:
    """`edge` = 1 − area over the stack's largest, for slices with brain; 0 for those without."""
    largest = max(int(areas.max()), 1)
    return [
        replace(strength, edge=float(1 - area / largest) if area else 0.0)
        for strength, area in zip(strengths, areas, strict=True)
    ]


def plan_stacks(
    preset: Preset,
    seed: int,
    sweep: dict[str, list[float]] | None = None,
    brains: tuple[LabelMap, ...] = (),
) -> list[StackJob]:
    """The stacks of a data set in order; a sweep repeats the challenging ones at each strength.

    In a sweep every level shows the same subjects, cuts and random numbers, so a curve over
    strength compares like with like.
    """
    jobs: list[StackJob] = []
    first = 1
    for set_name, size in preset.sets.items():
        stacks = spread(size.stacks, size.subjects)
        slices = iter(spread(size.slices, size.stacks))
        for subject, count in enumerate(stacks, start=first):
            # Head directions in turn, starting anywhere; every fifth follows the mother.
            start = int(np.random.default_rng([seed, subject, 0]).integers(0, 5))
            for run in range(1, count + 1):
                direction = (0, 1, 2, 3, 4)[(start + run) % 5]
                job = StackJob(
                    preset,
                    seed,
                    set_name,
                    subject,
                    run,
                    next(slices),
                    direction,
                    brains=brains if subject % BRAINS_EVERY else (),
                )
                if sweep and set_name == "challenging":
                    jobs += [
                        replace(job, sweep=((name, value),))
                        for name, values in sweep.items()
                        for value in values
                    ]
                else:
                    jobs.append(job)
        first += size.subjects
    return jobs


def parse_sweep(text: str) -> tuple[str, list[float]]:
    """`motion=0,0.2,0.4` → its name and strengths in order. Raises `UsageError`."""
    name, _, numbers = text.partition("=")
    if name not in SWEEPABLE:
        raise UsageError(f"--sweep {text!r}: {name!r} is none of {', '.join(SWEEPABLE)}.")
    try:
        values = [float(number) for number in numbers.split(",")]
    except ValueError:
        values = []
    if not values or any(not 0 <= value <= 1 for value in values):
        raise UsageError(f"--sweep {text!r}: write strengths from 0 to 1, as {name}=0,0.5,1.")
    levels = sorted(set(values))
    if len(levels) < LEAST_LEVELS:
        raise UsageError(
            f"--sweep {text!r}: a curve needs {LEAST_LEVELS} different strengths at least, "
            f"as {name}=0,0.5,1."
        )
    return name, levels


def make_phantom(
    folder: Path,
    preset: Preset,
    *,
    seed: int = 0,
    sweep: dict[str, list[float]] | None = None,
    brains: tuple[LabelMap, ...] = (),
    processes: int | None = None,
    force: bool = False,
    on_stack: Callable[[int, int], None] | None = None,
) -> Dataset:
    """Compute and write a phantom data set; `on_stack(done, all)` is told of each stack.

    With `brains` (see `atlas.find_label_maps`) two subjects of three have a brain of these. Raises
    `DataError` if the folder exists and `force` is not set, or a label map is damaged.
    """
    jobs = plan_stacks(preset, seed, sweep, brains)
    name = f"phantom-{preset.name}" + ("-sweep" if sweep else "")
    options: dict[str, object] = {"preset": preset.name, "seed": seed, "matrix": preset.matrix}
    if sweep:
        options["sweep"] = sweep
    if brains:
        options["brains"] = [{"file": item.name, "weeks": item.weeks} for item in brains]
    meta = DatasetMeta(
        name=name,
        title=preset.title,
        kind="phantom",
        source=f"computed by fetalbench: data phantom --preset {preset.name} --seed {seed}",
        licence="that of the label maps of the brains" if brains else LICENCE,
        split={"by": "subject"},
        options=options,
    )
    with DatasetWriter(folder, meta, force=force) as writer:
        for done, stack in enumerate(_compute(jobs, processes), start=1):
            writer.add_stack(stack)
            if on_stack:
                on_stack(done, len(jobs))
        return writer.finish()


def _end_with_parent() -> None:
    """Have the kernel end this process when its parent dies, however that happens."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    # Ctrl-C goes to the whole group: the parent ends the work.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _compute(jobs: list[StackJob], processes: int | None) -> Iterator[Stack]:
    processes = processes or cores.count()
    if processes == 1 or len(jobs) == 1:
        yield from map(make_stack, jobs)
        return
    # Spawn: forking a process that holds threads (of BLAS, of a progress bar) may hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, context, _end_with_parent) as pool:
        # A window keeps finished stacks from piling up in memory when writing is slower.
        window = 4 * processes
        for start in range(0, len(jobs), window):
            yield from pool.map(make_stack, jobs[start : start + window])
