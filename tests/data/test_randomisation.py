"""Domain randomisation changes what it names, and leaves image and mask together."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from harness.data import randomisation
from harness.data.augmentation import augment
from harness.data.augmentation_levels import LEVELS
from harness.data.normalisation import per_slice

SIZE = 64


def batch(count: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Unit images with a bright disc on a structured ground, and the discs' masks."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIZE, :SIZE]
    masks = np.stack(
        [
            ((y - rng.integers(24, 40)) ** 2 + (x - rng.integers(24, 40)) ** 2 < 100)
            for _ in range(count)
        ]
    ).astype(np.uint8)
    ground = 0.2 + 0.2 * rng.random((count, SIZE, SIZE))
    return np.where(masks > 0, 0.8, ground).astype(np.float32), masks


def roughness(images: np.ndarray) -> float:
    return float(np.abs(np.diff(images, axis=2)).mean())


def test_structures_leave_the_head_alone() -> None:
    unit, masks = batch()
    changed = randomisation.surroundings(unit, masks, np.random.default_rng(0))
    assert np.array_equal(changed[masks > 0], unit[masks > 0])
    assert (changed[masks == 0] != unit[masks == 0]).mean() > 0.2
    assert changed.min() >= 0
    assert changed.max() <= 1


@pytest.mark.parametrize("change", [randomisation.organs, randomisation.decoys])
def test_organs_and_decoys_leave_the_brain_alone(change) -> None:
    unit, masks = batch()
    unit[0, 0, :] = 0  # air
    changed = change(unit, masks, np.random.default_rng(0))
    assert np.array_equal(changed[masks > 0], unit[masks > 0])
    assert (changed[masks == 0] != unit[masks == 0]).mean() > 0.1
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert changed.dtype == np.float32


def test_organs_are_smooth_inside_and_sharp_between() -> None:
    unit, masks = batch()
    changed = randomisation.organs(unit, np.zeros_like(masks), np.random.default_rng(0))
    inner = np.median(np.abs(np.diff(changed, axis=2)))
    # Up to half of what was there shines through.
    assert inner < 0.7 * np.median(np.abs(np.diff(unit, axis=2)))
    assert np.abs(np.diff(changed, axis=2)).max() > 0.3


def test_decoys_are_never_filled_with_brain() -> None:
    unit, masks = batch()
    unit[masks > 0] = 1.0
    unit[masks == 0] *= 0.1
    # Half of the slices hold none: only these may lend what a decoy is filled with.
    unit[::2], masks[::2] = 0.05, 0
    draw = np.random.default_rng(0)
    fills = [randomisation._filling(unit, masks, draw) for _ in range(200)]
    lent = [fill for fill in fills if fill.max() <= 0.07]
    assert lent
    assert not any((fill > 0.99).mean() > 0.05 and fill.min() < 0.03 for fill in fills)


def test_patches_have_sharp_edges() -> None:
    drawn = randomisation.patches((8, SIZE, SIZE), np.random.default_rng(0))
    assert np.abs(np.diff(drawn, axis=1)).max() > 0.3
    assert drawn.std() > 0.1


def test_contrast_turns_brain_and_surroundings_apart() -> None:
    unit, masks = batch()
    changed = randomisation.contrast(unit, masks, np.random.default_rng(0))
    brighter = [
        bool(image[mask == 1].mean() > image[mask == 0].mean())
        for image, mask in zip(changed, masks, strict=True)
    ]
    # On all of them the disc was brighter; a curve over the whole slice would turn fewer.
    assert 0 < sum(brighter) < len(brighter)


def test_a_slice_without_its_brain_has_an_empty_mask_and_something_there() -> None:
    unit, masks = batch()
    changed, emptied = randomisation.without_brain(unit, masks, np.random.default_rng(0))
    assert not emptied.any()
    assert np.array_equal(changed[0][:8], unit[0][:8])
    assert (changed[masks > 0] != unit[masks > 0]).mean() > 0.9


def test_a_smaller_field_of_view_cuts_image_and_mask() -> None:
    unit, masks = batch()
    changed, cut = randomisation.framed(unit, masks, np.random.default_rng(0))
    assert not (cut & (changed == 0)).any()
    assert (cut <= masks).all()
    assert 0.05 < (changed == 0).mean() < 0.7


@pytest.mark.parametrize("change", [randomisation.coarser, randomisation.blurred])
def test_fewer_pixels_and_blur_smooth_the_slice(change) -> None:
    unit, _ = batch()
    changed = change(unit, np.random.default_rng(0))
    assert changed.shape == unit.shape
    assert roughness(changed) < 0.9 * roughness(unit)


@pytest.mark.parametrize(
    "name",
    [
        "elastic",
        "remap",
        "contrast",
        "structures",
        "organs",
        "decoys",
        "vanish",
        "frame",
        "resolution",
        "blur",
        "motion",
    ],
)
def test_every_name_changes_the_slices(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    none = replace(LEVELS["basic"], rotation_deg=0, zoom=0, shift=0, gamma=0, bias=0, noise=0)
    strength = 0.05 if name == "elastic" else 1.0
    monkeypatch.setitem(LEVELS, "none of it", none)
    monkeypatch.setitem(LEVELS, "it alone", replace(none, **{name: strength}))
    unit, masks = batch()
    images = per_slice(unit)[..., None]
    before, _ = augment(images, masks, level="none of it", seed=1, epoch=0)
    after, _ = augment(images, masks, level="it alone", seed=1, epoch=0)
    assert np.abs(after - before).mean() > 0.02


def test_strengths_given_replace_the_levels() -> None:
    unit, masks = batch()
    images = per_slice(unit)[..., None]
    _, emptied = augment(images, masks, level="domain", strengths={"vanish": 1}, seed=1, epoch=0)
    assert not emptied.any()
