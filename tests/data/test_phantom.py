"""The phantom: reproducible, of the stated sizes, anatomically ordered, harmed as stated."""

from __future__ import annotations

import os
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from harness.data.phantom.brain import FoldedBrain
from harness.data.phantom.contrast import draw_signals, randomise
from harness.data.phantom.degradation import SWEEPABLE, Strengths, degrade, wrapped_rows
from harness.data.phantom.generation import (
    draw_subject,
    make_phantom,
    make_stack,
    parse_sweep,
    plan_stacks,
)
from harness.data.phantom.growth import (
    biparietal_diameter_mm,
    draw_size,
    occipitofrontal_diameter_mm,
)
from harness.data.phantom.presets import PRESETS, SetSize, find_preset, with_matrix
from harness.errors import UsageError

# The data set that `fetalbench data phantom` makes. Who changes the phantom writes the new one here
# and says in docs/phantom.md what changed: results on another hash do not compare.
TINY = "5496f001"
MINI = replace(
    with_matrix(PRESETS["tiny"], 32),
    sets={
        "train": SetSize(subjects=2, stacks=2, slices=8),
        "normal": SetSize(subjects=1, stacks=1, slices=4),
        "challenging": SetSize(subjects=1, stacks=1, slices=4),
    },
)


def test_same_seed_same_bytes_on_any_number_of_processes(tmp_path: Path) -> None:
    one = make_phantom(tmp_path / "one", MINI, seed=4, processes=1)
    two = make_phantom(tmp_path / "two", MINI, seed=4, processes=2)
    other = make_phantom(tmp_path / "other", MINI, seed=5, processes=1)
    assert one.meta.hash == two.meta.hash
    assert one.meta.hash != other.meta.hash
    for name in ("dataset.json", "slices.parquet", "stacks/sub-001_run-1.images.npy"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_a_system_without_affinity_computes_the_phantom_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    one = {"train": SetSize(subjects=1, stacks=2, slices=2)}
    assert make_phantom(tmp_path / "one", replace(MINI, sets=one)).meta.sets["train"].stacks == 2


@pytest.mark.skipif(
    platform.machine() not in ("x86_64", "AMD64"),
    reason="other processors round exp and sin differently",
)
def test_the_phantom_comes_out_again_on_any_machine(tmp_path: Path) -> None:
    dataset = make_phantom(tmp_path / "tiny", find_preset("tiny"))
    assert dataset.meta.hash[:8] == TINY


def test_the_paper_preset_has_the_papers_numbers() -> None:
    jobs = plan_stacks(find_preset("paper"), 0)
    counts = {
        name: (
            len({job.subject for job in jobs if job.set_name == name}),
            sum(job.set_name == name for job in jobs),
            sum(job.slices for job in jobs if job.set_name == name),
        )
        for name in ("train", "normal", "challenging")
    }
    assert counts == {
        "train": (23, 131, 3496),
        "normal": (2, 17, 840),
        "challenging": (1, 4, 136),
    }


def test_study_has_subjects_enough_for_statistics() -> None:
    sets = find_preset("study").sets
    assert sets["normal"].subjects >= 24
    assert sets["challenging"].subjects >= 24


def test_growth_follows_the_published_medians() -> None:
    # INTERGROWTH-21st charts, 50th centile at 24 and 36 weeks, in mm.
    assert biparietal_diameter_mm(24) == pytest.approx(61, abs=1.5)
    assert biparietal_diameter_mm(36) == pytest.approx(91, abs=1.5)
    assert occipitofrontal_diameter_mm(24) == pytest.approx(77, abs=2)
    assert occipitofrontal_diameter_mm(36) == pytest.approx(111, abs=2)


@pytest.mark.parametrize("subject", [1, 2, 3])
def test_tissues_stand_in_the_order_of_a_t2_weighted_image(subject: int) -> None:
    scene, _ = draw_subject(0, subject)
    signals = scene.signals
    assert signals["csf"] > signals["white_matter"] > signals["muscle"] > signals["skull"]
    assert signals["subplate"] > signals["cortex"]
    assert signals["fluid"] > signals["placenta"] > signals["vessel"]


def test_young_brains_are_smooth_and_old_ones_folded() -> None:
    line = np.linspace(-30, 30, 200, dtype=np.float32)
    points = (line, 0.3 * line + 12, np.full_like(line, 5.0))
    depth = np.full_like(line, -3.0)
    cut = {}
    for weeks in (22.0, 25.0, 36.0):
        rng = np.random.default_rng(1)
        brain = FoldedBrain.fitted((40.0, 50.0, 42.0), draw_size(weeks, rng), rng)
        cut[weeks] = float((brain._cut_sulci(depth, points) - depth).max())
    assert cut[22.0] < 0.5
    assert cut[25.0] < 0.5
    assert cut[36.0] > 2.5


def test_the_mask_follows_the_floor_of_the_skull() -> None:
    rng = np.random.default_rng(1)
    brain = FoldedBrain.fitted((40.0, 50.0, 42.0), draw_size(30, rng), rng)
    signals = draw_signals(rng, 100)

    def distance(x: float, y: float, z: float) -> float:
        along, front, up = (np.array([value], dtype=np.float32) for value in (x, y, z))
        return float(brain.draw((along, front, up), signals, 1.0)[0][0])

    # In the temporal lobe, the brainstem and the cerebellum; not before them or between them.
    for inside in ((22, 5, -18), (0, -10, -32), (8, -22, -24), (0, 20, 0), (0, -40, 0)):
        assert distance(*inside) < 0, inside
    for outside in ((0, 25, -28), (0, 40, -20), (30, 0, -40), (0, -45, -30)):
        assert distance(*outside) > 0, outside


def test_random_contrast_turns_tissues_around() -> None:
    physics = draw_signals(np.random.default_rng(0), 100)
    assert randomise(physics, 0.0, np.random.default_rng(1)) == pytest.approx(physics)
    drawn = [randomise(physics, 1.0, np.random.default_rng(seed)) for seed in range(40)]
    darker = [signals["csf"] < signals["cortex"] for signals in drawn]
    assert 0 < sum(darker) < len(darker)
    assert all(value >= 0 for signals in drawn for value in signals.values())


def test_masks_measure_what_the_head_should() -> None:
    preset = replace(PRESETS["tiny"], gap_factor=1.0, spacing_mm=(2.0, 2.0), matrix=80)
    job = replace(plan_stacks(preset, 0)[0], slices=34)
    stack = make_stack(job)
    scene, _ = draw_subject(0, job.subject)
    volume_ml = stack.masks.sum() * 4.0 * stack.thickness_mm / 1000
    a, b, c = scene.head.radii_mm
    ellipsoid_ml = 4 / 3 * np.pi * a * b * c / 1000
    assert 0.6 < volume_ml / ellipsoid_ml < 0.95
    areas = stack.masks.sum(axis=(1, 2))
    assert areas[0] == 0
    assert areas[-1] == 0
    strengths = np.array(stack.extra["strength_edge"])
    assert strengths[areas.argmax()] == 0
    assert strengths[areas > 0].max() > 0.3


def test_no_strength_no_harm() -> None:
    signal = np.random.default_rng(0).random((24, 24)).astype(np.float32)
    same = degrade(signal, Strengths(), 0, 2.0, np.random.default_rng(1))
    assert np.array_equal(same, signal)


@pytest.mark.parametrize("name", [name for name in SWEEPABLE if name != "noise"])
def test_harm_grows_with_its_strength(name: str) -> None:
    rng = np.random.default_rng(3)
    signal = np.zeros((96, 64), dtype=np.float32)
    signal[30:70, 20:44] = 1 + rng.random((40, 24))
    signal[:16] = 1.0
    gaps = []
    for strength in (0.1, 0.9):
        strengths = Strengths(**{name: strength})
        extra = wrapped_rows(strengths, 64)
        inner = (
            signal[16 - extra : 80 + extra]
            if extra <= 16
            else np.pad(signal, ((extra - 16, extra - 16), (0, 0)))
        )
        harmed = degrade(inner, strengths, extra, 2.0, np.random.default_rng(1))
        gaps.append(float(np.abs(harmed - signal[16:80]).mean()))
    assert gaps[1] > 1.5 * gaps[0] > 0


def test_noise_grows_with_its_strength() -> None:
    jobs = plan_stacks(MINI, 0, {"noise": [0.0, 0.1, 0.9]})
    swept = [make_stack(job).images for job in jobs if job.set_name == "challenging"]
    gaps = [float(np.abs(images - swept[0]).mean()) for images in swept[1:]]
    assert gaps[1] > 3 * gaps[0] > 0


def test_a_sweep_shows_the_same_slices_at_each_strength() -> None:
    jobs = plan_stacks(MINI, 0, {"void": [0.0, 1.0]})
    swept = [make_stack(job) for job in jobs if job.set_name == "challenging"]
    assert [stack.name for stack in swept] == ["sub-004_run-1_void-0", "sub-004_run-1_void-1"]
    assert np.array_equal(swept[0].masks, swept[1].masks)
    assert swept[1].images.mean() < swept[0].images.mean()
    assert set(swept[1].extra["strength_void"]) == {1.0}


@pytest.mark.parametrize(
    "text",
    ["movement=0,1", "motion", "motion=2", "motion=a,b", "edge=1", "motion=0,1", "motion=0,1,1"],
)
def test_wrong_sweeps(text: str) -> None:
    with pytest.raises(UsageError, match="--sweep"):
        parse_sweep(text)


def test_unknown_preset_has_a_neighbour() -> None:
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        find_preset("tinny")
